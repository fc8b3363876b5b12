"""Events of the data channel: ours as clients read them, theirs whatever they hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.live import ErrorEvent, SessionClosedEvent

from agent.live_errors import LiveError
from agent.live_events import (
    MAX_MESSAGE_CHARS,
    BadEvent,
    ClientEvent,
    ClientEventKind,
    error_event,
    read_client_event,
    server_event,
)


@pytest.mark.parametrize("kind", ClientEventKind)
def test_what_is_served_is_read(kind: ClientEventKind) -> None:
    assert read_client_event(json.dumps({"type": kind})) == ClientEvent(kind, None)
    assert read_client_event(json.dumps({"type": kind, "event_id": "a"})) == ClientEvent(kind, "a")


@pytest.mark.parametrize(
    ("message", "code", "param", "event_id"),
    [
        (b"{}", "invalid_json", None, None),
        ("{", "invalid_json", None, None),
        ("[]", "invalid_json", None, None),
        ("[" * 30_000, "invalid_json", None, None),
        (" " * (MAX_MESSAGE_CHARS + 1), "message_too_large", None, None),
        ("{}", "missing_required_parameter", "type", None),
        ('{"type": "session.explode", "event_id": "e"}', "invalid_value", "type", "e"),
        ('{"type": ["session.close"]}', "invalid_value", "type", None),
        ('{"type": "session.close", "event_id": 7}', "invalid_value", "event_id", None),
        ('{"type": "session.close", "why": 1, "event_id": "e"}', "unknown_parameter", "why", "e"),
        ('{"type": "response.create", "event_id": "e"}', "unsupported_event", "type", "e"),
    ],
)
def test_what_is_not_served_is_told(
    message: str | bytes, code: str, param: str | None, event_id: str | None
) -> None:
    with pytest.raises(BadEvent) as caught:
        read_client_event(message)
    error = caught.value
    assert (error.code, error.param, error.event_id) == (code, param, event_id)


@given(st.text(max_size=100) | st.binary(max_size=100))
def test_any_message_is_an_event_or_an_error_of_ours(message: str | bytes) -> None:
    with pytest.raises(BadEvent):
        read_client_event(message)


def test_clients_read_our_events() -> None:
    text = server_event(
        "session.closed",
        client_event_id="c",
        reason="expired",
        usage={"seconds": 2.5},
        session={"id": "live_1", "expires_at": 3, "model": "offhook", "status": "active"},
    )
    closed = SessionClosedEvent.model_validate_json(text)
    assert (closed.reason, closed.usage.seconds, closed.client_event_id) == ("expired", 2.5, "c")
    other = SessionClosedEvent.model_validate_json(text).event_id
    assert other == closed.event_id != json.loads(server_event("x"))["event_id"]
    told = ErrorEvent.model_validate_json(error_event(LiveError("invalid_value", "No.", "type"), "c"))
    assert (told.error.code, told.error.param, told.error.client_event_id) == ("invalid_value", "type", "c")
