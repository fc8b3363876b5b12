"""One shape for every failure, which OpenAI's clients read, too."""

import pytest

from agent.http_errors import ApiError, error_body


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
     (404, "invalid_request_error"), (429, "rate_limit_error"), (500, "server_error"), (503, "server_error")],
)  # fmt: skip
def test_the_type_follows_the_status(status: int, kind: str) -> None:
    body = error_body(status, "a_code", "What.", "Do.")["error"]
    assert body == {"code": "a_code", "message": "What.", "remedy": "Do.", "type": kind, "param": None}


def test_an_error_may_carry_headers() -> None:
    error = ApiError(429, "too_many_requests", "Slow.", "Wait.", {"Retry-After": "3"})
    assert (error.status, str(error), error.headers) == (429, "Slow.", {"Retry-After": "3"})
    assert ApiError(404, "a", "b", "c").headers == {}
