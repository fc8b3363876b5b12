"""Events of a Live session's data channel, both ways, as JSON text. No I/O here."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent.live_errors import LiveError

MAX_MESSAGE_CHARS = 32_768
MAX_ID_CHARS = 512


class ClientEventKind(StrEnum):
    """What a client may ask for here."""

    CLOSE = "session.close"
    MUTE = "session.input_audio.mute"
    UNMUTE = "session.input_audio.unmute"


# The Live API's other client events, which we refuse by name until we serve them.
NOT_SERVED = frozenset(
    {
        "session.start",
        "session.update",
        "session.input_audio.append",
        "session.instructions.append",
        "session.thinking.append",
        "session.commentary.append",
        "session.output_audio.fixture.play",
        "response.item.create",
        "response.create",
        "decision.create",
        "decision.item.create",
        "decision.item.delete",
        "transport.dtmf.send",
    }
)


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One event of the client's that we serve."""

    kind: ClientEventKind
    event_id: str | None


class BadEvent(LiveError):
    """A message that is no event which we serve; `event_id` is the client's, if it could be read."""

    def __init__(
        self, code: str, message: str, param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(code, message, param)
        self.event_id = event_id


def read_client_event(message: str | bytes) -> ClientEvent:
    """Understand one message. Raises BadEvent."""
    if not isinstance(message, str):
        raise BadEvent("invalid_json", "Events are JSON text; this message is binary.")
    if len(message) > MAX_MESSAGE_CHARS:
        raise BadEvent("message_too_large", f"An event has at most {MAX_MESSAGE_CHARS} characters.")
    try:
        tree = json.loads(message)
    except (ValueError, RecursionError):
        raise BadEvent("invalid_json", "The message is no JSON.") from None
    if not isinstance(tree, dict):
        raise BadEvent("invalid_json", "An event is a JSON object.")
    event_id = tree.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and len(event_id) <= MAX_ID_CHARS):
        raise BadEvent(
            "invalid_value", f"An event_id is text of up to {MAX_ID_CHARS} characters.", "event_id"
        )
    return ClientEvent(_kind(tree, event_id), event_id)


def _kind(tree: dict[str, Any], event_id: str | None) -> ClientEventKind:
    name = tree.get("type")
    if name is None:
        raise BadEvent("missing_required_parameter", "Missing required parameter: 'type'.", "type", event_id)
    if isinstance(name, str) and name in NOT_SERVED:
        raise BadEvent("unsupported_event", f"{name} is not served on this channel.", "type", event_id)
    try:
        kind = ClientEventKind(name)
    except ValueError:
        raise BadEvent("invalid_value", "There is no client event of this type.", "type", event_id) from None
    extra = sorted(key for key in tree if key not in ("type", "event_id"))
    if extra:
        raise BadEvent(
            "unknown_parameter", f"Unknown parameter: '{extra[0][:200]}'.", extra[0][:200], event_id
        )
    return kind


def server_event(kind: str, *, client_event_id: str | None = None, **fields: Any) -> str:
    """One event of ours, with an id of its own, as it goes over the wire."""
    event: dict[str, Any] = {"type": kind, "event_id": f"event_{secrets.token_hex(8)}"}
    if client_event_id is not None:
        event["client_event_id"] = client_event_id
    return json.dumps({**event, **fields}, separators=(",", ":"))


def error_event(error: LiveError, event_id: str | None = None) -> str:
    """An `error` event; the client's event that it answers is named twice, as clients expect it."""
    body = error.as_json()
    if event_id is not None:
        body["client_event_id"] = event_id
    return server_event("error", client_event_id=event_id, error=body)
