"""Which line answers a call."""

import pytest
from pydantic import ValidationError

from agent.dial_plan import CallPlan, DialPlan, Line, PlanTree
from agent.settings import AgentSettings, CallSettings
from model.control import CallProfile


def plan(*lines: Line) -> DialPlan:
    def planned(line: Line | None) -> CallPlan:
        name = line.called + (f"/{line.trunk}" if line.trunk else "") if line else "fallback"
        return CallPlan(name, "", AgentSettings(), CallProfile(), CallSettings())

    return DialPlan({}, tuple((line, planned(line)) for line in lines), planned(None))


def found(made: DialPlan, called: str, trunk: str = "") -> str | None:
    got = made.find(called, trunk)
    return got.line if got else None


def test_the_longest_match_wins_then_the_exact_one_then_the_trunks_own() -> None:
    made = plan(
        Line(called="*"),
        Line(called="+49*"),
        Line(called="+4930*", trunk="carrier"),
        Line(called="+4930*"),
        Line(called="+493012"),
        Line(called="+493012*"),
        Line(called="order"),
    )
    assert found(made, "sip:+493012@192.0.2.1") == "+493012"
    assert found(made, "sip:+4930129@192.0.2.1") == "+493012*"
    assert found(made, "sip:+49301@192.0.2.1", "carrier") == "+4930*/carrier"
    assert found(made, "sip:+49301@192.0.2.1", "other") == "+4930*"
    assert found(made, "sip:+49401@192.0.2.1") == "+49*"
    assert found(made, "sip:order@192.0.2.1;transport=tls") == "order"
    assert found(made, "sip:192.0.2.1") == "*", "nobody is named"


def test_without_lines_everybody_is_answered_and_with_lines_only_those_on_one() -> None:
    assert found(plan(), "sip:anybody@192.0.2.1") == "fallback"
    made = plan(Line(called="order", trunk="carrier"))
    assert found(made, "sip:order@192.0.2.1", "other") is None
    assert found(made, "sip:orders@192.0.2.1", "carrier") is None


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"lines": [{"called": "a b"}]}, "neither a number nor a user; write"),
        ({"lines": [{"called": "a*b"}]}, "neither a number nor a user"),
        ({"lines": [{"called": "a", "trunk": "x"}]}, "number 1 .a.: there is no trunk 'x'; known: none"),
        ({"trunks": {"default": {"peers": ["192.0.2.0/24"]}}}, "'default', which means no trunk"),
        ({"lines": [{"called": "a", "persona": "x"}]}, "no persona 'x'"),
        ({"lines": [{"called": "a"}, {"called": "a"}]}, "number 2 .a.: an earlier line has the same"),
        ({"lines": [{"called": "a", "transfer_target": "desk"}]}, "is no SIP URI"),
        ({"trunks": {"A B": {"peers": ["192.0.2.0/24"]}}}, "'A B' is no trunk's name"),
        (
            {"trunks": {"a": {"peers": ["192.0.2.0/24"]}, "b": {"peers": ["192.0.2.0/24"]}}},
            "192.0.2.0/24 is in the peers of a and of b",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tree: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PlanTree.model_validate(tree)


def test_a_line_without_a_name_shows_no_number() -> None:
    assert Line(called="+49301", name="shop").label == "shop"
    assert Line(called="+49301").label == "unnamed"
    assert Line(called="order").label == "order"
