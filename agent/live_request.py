"""The body of POST /v1/live/sessions, strictly: what it may hold, and what we do not do yet. No I/O here.

A field that the Live API does not have is `unknown_parameter`; one that it has and we do not serve is refused
with `unsupported_value`, because a session without it would not be what was asked for. Values that ask for
nothing (null, an empty list, false) are taken.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from agent.live_errors import LiveError

OWN_MODEL = "offhook"
STOCK_MODELS = "gpt-live-1"  # and what follows it: clients' defaults mean our model
MAX_NAME = 256

# Of pydantic's kinds of error, those that have a code of their own; all others are invalid values.
CODES = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
    "unsupported_value": "unsupported_value",
}


def _refuse(remedy: str) -> NoReturn:
    raise PydanticCustomError("unsupported_value", "{remedy}", {"remedy": remedy})


def _nothing(remedy: str) -> Any:
    """A field of any type that may ask for nothing."""

    def check(value: Any) -> Any:
        if value not in (None, "", [], {}) and value is not False:
            _refuse(remedy)
        return None

    return AfterValidator(check)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Output(_Strict):
    """`session.audio.output`."""

    voice: str | None = Field(default=None, max_length=MAX_NAME)


class Audio(_Strict):
    """`session.audio`; the format is the media transport's."""

    output: Output | None = None


class SessionConfig(_Strict):
    """`session`, as far as it is served."""

    model: str = Field(min_length=1, max_length=MAX_NAME)
    audio: Audio | None = None
    safety_identifier: str | None = Field(default=None, max_length=MAX_NAME)
    instructions: Annotated[
        Any, _nothing("Each agent's role is its operator's (OFFHOOK_AGENT__ROLE); leave it out.")
    ] = None
    input: Annotated[Any, _nothing("A history before the call is not served here yet; leave it out.")] = None
    client: Annotated[Any, _nothing("Data channel permissions are not served here yet.")] = None
    delegation: Annotated[Any, _nothing("Delegation is not served here yet; leave it out.")] = None
    triggers: Annotated[Any, _nothing("Triggers are not served here yet; leave them out.")] = None
    store: Annotated[Any, _nothing("Recording is the operator's (OFFHOOK_RECORDING__FOLDER).")] = None

    @property
    def voice(self) -> str:
        """The voice that was asked for; "" for whichever it is."""
        output = self.audio.output if self.audio else None
        return (output.voice if output else None) or ""


class Transport(_Strict):
    """`transport`."""

    type: Literal["webrtc"]
    sdp: str = Field(min_length=1)


class LiveRequest(_Strict):
    """The whole body."""

    session: SessionConfig
    transport: Transport


def read_request(body: bytes, models: Collection[str], voice: str) -> LiveRequest:
    """Understand a body. `models` run here; `voice` is the operator's, "" for the model's own.

    Raises LiveError that says what is wrong, where, and what would do.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        raise LiveError("invalid_json", "The body is no JSON.") from None
    if not isinstance(tree, dict):
        raise LiveError("invalid_json", "The body is no JSON object.")
    try:
        request = LiveRequest.model_validate(tree)
    except ValidationError as error:
        raise _explained(error.errors(include_url=False, include_input=False)[0]) from None
    _check_model(request.session.model, models)
    if request.session.voice not in ("", voice):
        raise LiveError(
            "unsupported_value",
            "The agent's voice is its operator's (OFFHOOK_AGENT__VOICE); leave it out.",
            "session.audio.output.voice",
        )
    return request


def _check_model(name: str, models: Collection[str]) -> None:
    if name in (OWN_MODEL, *models) or name == STOCK_MODELS or name.startswith(f"{STOCK_MODELS}."):
        return
    known = ", ".join(sorted({OWN_MODEL, *models}))
    raise LiveError(
        "model_not_found",
        f"No model of that name runs here; ask for one of {known} (gpt-live-1 means the same).",
        "session.model",
    )


def _explained(fault: ErrorDetails) -> LiveError:
    """The first thing that is wrong. A value that was sent is never quoted."""
    param = ".".join(str(part) for part in fault["loc"])
    code = CODES.get(fault["type"], "invalid_value")
    message = f"{fault['msg']}."
    if code == "unknown_parameter":
        message = f"Unknown parameter: '{param[:200]}'."
    elif code == "missing_required_parameter":
        message = f"Missing required parameter: '{param}'."
    elif code == "unsupported_value":
        message = fault["msg"]
    elif param == "transport.type":
        message = "Only the webrtc transport is supported."
    return LiveError(code, message, param[:200])
