"""One call on disk: its sound and what lies beside it, from when the caller agrees. Event loop only.

The recorder writes; here it is decided whether it may, and what the sidecar tells: no number, no Call-ID.
"""

from __future__ import annotations

import asyncio

import structlog

from agent.consent import Consent, ConsentGate, ConsentRules
from agent.duplex import Duplex
from agent.recording import Recorder
from agent.session_parts import Parts
from agent.store import SessionRecord

MAX_DIGITS = 1000  # of one call, in its sidecar: nothing else bounds how fast a caller presses

log = structlog.get_logger(__name__)


class CallRecording:
    """What becomes of one call's recorder; nothing, where there is none."""

    def __init__(self, parts: Parts, duplex: Duplex) -> None:
        self._parts, self._recorder, self._duplex = parts, parts.recorder, duplex
        rules = parts.consent if parts.recorder is not None else ConsentRules()
        self._consent = ConsentGate(rules, parts.now, self._on_consent)
        self._announced_at: int | None = None  # of the duplex's `num_said`
        self._began_s = 0.0  # on the audio clock
        self._digits: list[tuple[float, str]] = []
        self._discarding: asyncio.Future[None] | None = None  # the caller has refused
        duplex.may_record = self._consent.may_record

    @property
    def recording_id(self) -> str | None:
        """What the recording is found by; None while nothing is kept."""
        return self._recorder.path.stem if self._recorder is not None and self._is_kept else None

    @property
    def announcement(self) -> str:
        """What the caller must still be told before anything is kept; "": nothing."""
        return self._parts.consent.announcement if self._consent.state is Consent.ANNOUNCING else ""

    def announces(self, num_tokens: int) -> None:
        """The announcement is being said: it is over after so many tokens."""
        self._announced_at = self._duplex.num_said + num_tokens

    def interrupted(self) -> None:
        """What was being said will not be said to its end."""
        self._announced_at = None

    def pressed(self, digit: str) -> None:
        """The caller pressed a digit, which may be their refusal."""
        if len(self._digits) < MAX_DIGITS:
            self._digits.append((round(self._duplex.audio_s, 3), digit))
        self._consent.pressed(digit)

    def tick(self) -> None:
        """Once a second: see how far consent is."""
        if self._announced_at is not None and self._duplex.num_said >= self._announced_at:
            self._announced_at = None
            self._consent.announced()
        self._consent.tick()

    def note(self, record: SessionRecord, num_recoveries: int) -> None:
        """Write the sidecar as the call is now."""
        if self._recorder is not None and self._is_kept:
            self._recorder.note(self._sidecar(record, num_recoveries))

    async def close(self, record: SessionRecord, num_recoveries: int) -> None:
        """The call is over: finish what is kept, delete what may not be."""
        recorder = self._recorder
        if recorder is None:
            return
        if self._consent.may_record:
            sidecar = self._sidecar(record, num_recoveries)
            await asyncio.shield(asyncio.to_thread(recorder.close, sidecar))
        else:
            await asyncio.shield(self._discarding or self._discard(recorder))
        if recorder.failure:
            log.warning("recording_failed", cause=recorder.failure)

    @property
    def _is_kept(self) -> bool:
        return self._recorder is not None and not self._recorder.failure and self._consent.may_record

    def _on_consent(self, state: Consent) -> None:
        log.info("recording_consent", state=state.value)
        self._duplex.may_record = self._consent.may_record
        if state is Consent.RECORDING:
            self._began_s = self._duplex.audio_s
        elif state is Consent.REFUSED and self._recorder is not None:
            self._discarding = self._discard(self._recorder)  # now: nobody knows how this process will end

    @staticmethod
    def _discard(recorder: Recorder) -> asyncio.Future[None]:
        return asyncio.ensure_future(asyncio.to_thread(recorder.discard))

    def _sidecar(self, record: SessionRecord, num_recoveries: int) -> dict[str, object]:
        """What lies next to the audio; `end_reason` is null while the call lives."""
        duplex, began_s = self._duplex, self._began_s
        words = [word for word in duplex.transcript.in_order() if word.start_s >= began_s]
        return {
            "channels": ["caller", "agent"],
            "call_id": record.call_id,
            "caller_hash": self._parts.caller_hash,
            "started_at_ms": record.started_at_ms,
            "seconds": round(duplex.audio_s, 3),
            "consent": self._parts.has_consent or bool(self._parts.consent.announcement),
            "began_s": round(began_s, 3),  # of the call's clock, by which all times here are
            "end_reason": record.end_reason.value if record.end_reason else None,
            "transport": record.transport,
            "codec": record.codec,
            "words": [word.as_json() for word in words],
            "turns": duplex.turns.as_json(),
            "dtmf": [{"at_s": at_s, "digit": digit} for at_s, digit in self._digits if at_s >= began_s],
            "bridge": duplex.bridge.as_json(),
            "num_recoveries": num_recoveries,
            "frames_not_recorded": self._recorder.frames_dropped if self._recorder else 0,
        }
