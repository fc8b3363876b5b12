"""One Live session: a call's words, mute and end on the data channel that its client has made. asyncio only.

The agent's words are told when they are heard: each waits until the audio clock has reached its start. A
client that does not take its messages loses deltas, never memory of ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Protocol

import structlog

from agent.errors import EndReason
from agent.live_events import (
    BadEvent,
    ClientEvent,
    ClientEventKind,
    error_event,
    read_client_event,
    server_event,
)
from agent.session import Session
from agent.transcript import Speaker, TimedWord
from telephony.endpoint import TICK_S

CHANNEL_LABEL = "oai-events"
MAX_BUFFERED_BYTES = 262_144  # that the client has not taken; further events are dropped
MAX_WAITING = 256  # events from before the channel was there, and words that are not yet heard
USAGE_S = 15.0  # between two reports of the time used

# Every other end is ours or the model's: the session was closed on purpose.
REASONS = {
    EndReason.CALLER_HUNG_UP: "remote_hangup",
    EndReason.TOO_LONG: "expired",
    EndReason.MEDIA_LOST: "connection_lost",
    EndReason.TRUNK_FAILED: "connection_lost",
    EndReason.MODEL_FAILED: "connection_lost",
    EndReason.WORKER_LOST: "connection_lost",
    EndReason.INTERNAL_ERROR: "connection_lost",
}
CLOSED_ON_PURPOSE = "close_requested"

log = structlog.get_logger(__name__)


class Channel(Protocol):
    """A data channel, as far as a session needs it: aiortc's."""

    @property
    def label(self) -> str:
        """What the client called it."""

    @property
    def readyState(self) -> str:
        """It can be written while this is "open"."""

    @property
    def bufferedAmount(self) -> int:
        """Bytes that were written and not yet sent."""

    def send(self, data: str) -> None:
        """Queue one message."""

    def on(self, event: str, listener: Any) -> Any:
        """Call `listener` with each "message"."""


class LiveSession:
    """What the client of one WebRTC call is told, and what it may ask."""

    def __init__(self, session: Session, resource: dict[str, Any]) -> None:
        """`resource` is the session as its client sees it, `id` included."""
        self.id = str(resource["id"])
        self.num_dropped = 0  # events that the client did not take
        self._session, self._resource = session, resource
        self._channel: Channel | None = None
        self._early: deque[str] = deque(maxlen=MAX_WAITING)
        self._unheard: deque[TimedWord] = deque(maxlen=MAX_WAITING)
        self._is_asked = False  # whoever began it wants it closed
        self._closing: ClientEvent | None = None  # by this event
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        self._word_timer: asyncio.TimerHandle | None = None
        self._usage_timer = self._loop.call_later(USAGE_S, self._tell_usage)
        session.listen(self._on_word)
        session.listen_end(self._on_end)

    def on_channel(self, channel: Channel) -> None:
        """Take the client's channel; any other channel, and a second one, is left alone."""
        if channel.label != CHANNEL_LABEL or self._channel is not None:
            log.info("channel_ignored", is_second=self._channel is not None)
            return
        self._channel = channel
        channel.on("message", self._on_message)
        self._send(server_event("session.started", session=self._resource))
        while self._early:
            self._send(self._early.popleft())

    def hang_up(self) -> None:
        """Begin to end it: whoever began the session has asked for it, outside the data channel."""
        self._is_asked = True
        self._session.hang_up(EndReason.CALLER_HUNG_UP)

    # ---- from the client ----

    def _on_message(self, message: str | bytes) -> None:
        if self._is_over:
            return  # nothing is told after session.closed
        try:
            event = read_client_event(message)
        except BadEvent as error:
            self._send(error_event(error, error.event_id))
            return
        match event.kind:
            case ClientEventKind.CLOSE:
                self._closing = self._closing or event
                self.hang_up()
            case ClientEventKind.MUTE:
                self._session.mute_caller(True)
                self._tell("session.input_audio.muted", client_event_id=event.event_id)
            case ClientEventKind.UNMUTE:
                self._session.mute_caller(False)
                self._tell("session.input_audio.unmuted", client_event_id=event.event_id)

    # ---- to the client ----

    def _on_word(self, word: TimedWord) -> None:
        if word.speaker is Speaker.CALLER:
            self._tell_word("session.input_transcript.delta", word)
            return
        self._unheard.append(word)
        self._tell_heard()

    def _tell_heard(self) -> None:
        """Tell the agent's words that have begun to sound, and come again for the next."""
        if self._word_timer is not None:
            self._word_timer.cancel()
            self._word_timer = None
        now_s = self._session.audio_s
        while self._unheard and self._unheard[0].start_s <= now_s:
            self._tell_word("session.output_transcript.delta", self._unheard.popleft())
        if self._unheard and not self._is_over:
            wait_s = max(TICK_S, self._unheard[0].start_s - now_s)  # the audio clock goes in steps
            self._word_timer = self._loop.call_later(wait_s, self._tell_heard)

    def _tell_word(self, kind: str, word: TimedWord) -> None:
        start_ms, end_ms = round(word.start_s * 1000), round(word.end_s * 1000)
        self._tell(kind, delta=f" {word.text}", start_ms=start_ms, end_ms=end_ms)

    def _tell_usage(self) -> None:
        self._tell("session.usage.updated", usage=self._usage())
        self._usage_timer = self._loop.call_later(USAGE_S, self._tell_usage)

    def _usage(self) -> dict[str, float]:
        return {"seconds": round(self._session.audio_s, 3)}

    def _on_end(self, reason: EndReason) -> None:
        self._tell_heard()
        told = CLOSED_ON_PURPOSE if self._is_asked else REASONS.get(reason, CLOSED_ON_PURPOSE)
        client_event_id = self._closing.event_id if self._closing else None
        self._tell(
            "session.closed",
            client_event_id=client_event_id,
            reason=told,
            session=self._resource,
            usage=self._usage(),
        )
        self._is_over = True
        self._usage_timer.cancel()
        if self._word_timer is not None:
            self._word_timer.cancel()
        if self.num_dropped:
            log.warning("live_events_dropped", num_events=self.num_dropped)

    def _tell(self, kind: str, *, client_event_id: str | None = None, **fields: Any) -> None:
        if not self._is_over:
            self._send(server_event(kind, client_event_id=client_event_id, **fields))

    def _send(self, event: str) -> None:
        channel = self._channel
        if channel is None:
            self._early.append(event)
        elif channel.readyState == "open":  # else the client has gone
            if channel.bufferedAmount + len(event) > MAX_BUFFERED_BYTES:
                self.num_dropped += 1
            else:
                channel.send(event)


def session_resource(live_id: str, *, model: str, voice: str, max_s: float) -> dict[str, Any]:
    """The session as its client sees it: what was resolved, and when it must end."""
    return {
        "id": live_id,
        "object": "live.session",
        "model": model,
        "status": "active",
        "expires_at": int(time.time() + max_s),
        "instructions": "",
        "input": [],
        "audio": {"output": {"voice": voice}},
        "delegation": None,
        "store": False,
    }
