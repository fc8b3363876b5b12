"""The error tree and the end reasons."""

import inspect

import pytest

from agent import errors
from agent.errors import AgentError, EndReason, Fault


@pytest.mark.parametrize("reason", EndReason)
def test_every_end_is_somebodys(reason: EndReason) -> None:
    assert isinstance(reason.fault, Fault)
    assert reason.value == reason.name.lower()  # the label in Prometheus is the name in the code


def test_ends_are_blamed_where_they_belong() -> None:
    assert EndReason.CALLER_HUNG_UP.fault is Fault.CALLER
    assert EndReason.TRUNK_FAILED.fault is Fault.TRUNK
    assert EndReason.AGENT_HUNG_UP.fault is Fault.MODEL
    assert EndReason.WORKER_LOST.fault is Fault.US
    assert {reason.fault for reason in EndReason} == set(Fault)


def test_every_error_has_the_base_and_is_in_the_tree() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) > 4
    for kind in kinds:
        assert issubclass(kind, AgentError)
        assert errors.__doc__ and kind.__name__ in errors.__doc__
