"""What can be wrong with a Live API request or event, in the shape that its clients expect. No I/O here."""

from __future__ import annotations

from typing import Any

INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"


class LiveError(Exception):
    """A request or an event that is not served; `param` is the dotted path of what is wrong in it."""

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        *,
        status: int = 400,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.param, self.status, self.retry_after_s = code, param, status, retry_after_s

    def as_json(self) -> dict[str, Any]:
        """The object under `error`."""
        kind = INVALID_REQUEST if self.status < 500 else SERVER_ERROR
        return {"message": str(self), "type": kind, "param": self.param, "code": self.code}
