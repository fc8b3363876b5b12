"""The table of rights against the routes that there are."""

from agent.access_keys import Right
from agent.access_rules import ANY_RIGHT, OPEN, RULES, is_for_anybody_known, rule_of
from tests.agent.test_control import Calls, app_of


def test_every_route_is_in_the_table_and_the_table_names_no_other() -> None:
    routes = {
        (route.method, rule_place(route.resource.canonical))
        for route in app_of(Calls()).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    later = {place for place in RULES if place[1].startswith("/v1/live/")}  # added where WebRTC is
    assert routes | later == set(RULES) | ANY_RIGHT


def rule_place(canonical: str) -> str:
    return canonical.replace("{call_id}", "{}").replace("{recording_id}", "{}").replace("{name}", "{}")


def test_what_nobody_listed_is_closed() -> None:
    assert rule_of("GET", "/v1/new") is Right.ADMIN
    assert rule_of("DELETE", "/v1/calls/{call_id}") is Right.ADMIN


def test_a_parameter_counts_whatever_it_is_called_and_head_as_get() -> None:
    assert rule_of("POST", "/v1/live/sessions/{session_id}/hangup") is Right.CALLS_CREATE
    assert rule_of("HEAD", "/v1/recordings/{id}") is Right.RECORDINGS_READ


def test_open_paths_are_few() -> None:
    assert {path for (_, path), right in RULES.items() if right is OPEN} == {
        "/", "/console/{}", "/healthz", "/readyz", "/v1/console/login",
    }  # fmt: skip
    assert is_for_anybody_known("GET", "/v1/console/session")
