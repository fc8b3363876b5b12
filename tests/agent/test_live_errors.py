"""Errors in the shape that OpenAI's clients read."""

import pytest

from agent.live_errors import LiveError


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (503, "server_error")])
def test_the_type_tells_whose_fault_it_is(status: int, kind: str) -> None:
    error = LiveError("some_code", "Some text.", "a.b", status=status)
    assert error.as_json() == {"message": "Some text.", "type": kind, "param": "a.b", "code": "some_code"}
