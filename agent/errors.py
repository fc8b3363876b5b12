"""Why things fail and why calls end.

    AgentError                 base: the message names cause and remedy; the CLI prints it alone
    ├── ConfigError            the operator's settings cannot work; raised at boot, never in a call
    ├── RedisUnavailable       the private Redis would not start, or the configured one is not there
    ├── NoFreeSlot             every model slot is taken (the caller hears 503 before any ringing)
    ├── WorkerUnavailable      a worker died, refused a secret, or did not become ready in time
    └── AudioFileError         a file that should hold audio is unreadable or of an unusable shape

A peer's fault in a live call is counted, not raised. Our own fault is an `assert` with its values: it ends
that call and is reported as `EndReason.INTERNAL_ERROR`.
"""

from __future__ import annotations

from enum import StrEnum


class AgentError(Exception):
    """Base of every failure the agent package raises on purpose."""


class ConfigError(AgentError):
    """The configuration cannot work; the message names the variable and what to set instead."""


class RedisUnavailable(AgentError):
    """No Redis to talk to: the private one did not start, or the configured one does not answer."""


class NoFreeSlot(AgentError):
    """Every model slot is taken."""


class WorkerUnavailable(AgentError):
    """A worker cannot take calls: it died, refused our secret, or never became ready."""


class AudioFileError(AgentError):
    """An audio file is missing, unreadable, or empty."""


class Fault(StrEnum):
    """Who made the call end."""

    CALLER = "caller"  # the person or their phone: the ordinary way
    TRUNK = "trunk"  # the network or the peer between us
    MODEL = "model"  # the model said so, or failed to say anything
    US = "us"  # this process, its workers, its operator


class EndReason(StrEnum):
    """Why a call ended: the `result` label of `offhook_calls_total`, and the word in records and sidecars.

    `session.py` alone turns what escapes from a call into one of these.
    """

    CALLER_HUNG_UP = "caller_hung_up"
    CALLER_CANCELLED = "caller_cancelled"  # CANCEL before we answered; a WebRTC peer that never connected
    AGENT_HUNG_UP = "agent_hung_up"  # the model's hang-up token, after its goodbye was heard
    TRANSFERRED = "transferred"  # REFER accepted: the caller now talks to somebody else
    MODEL_FAILED = "model_failed"  # the engine raised, or its output was not audio
    TRUNK_FAILED = "trunk_failed"  # a SIP error, a transaction timeout; a WebRTC peer's transport lost
    MEDIA_LOST = "media_lost"  # no packet from the caller for too long
    MEDIA_REFUSED = "media_refused"  # no codec in common (488)
    NO_FREE_SLOT = "no_free_slot"  # 503 with Retry-After, never rang
    UNKNOWN_LINE = "unknown_line"  # 404: the dial plan has no line for the number that was called
    LINE_FULL = "line_full"  # 486: as many calls as its line or trunk may have
    OVER_LIMIT = "over_limit"  # 503: its source has as many calls as it may, or begins them too fast
    NOT_ANSWERED = "not_answered"  # a call of ours: busy, or nobody took it in time
    CALL_REFUSED = "call_refused"  # a call of ours: any other final status
    MACHINE_ANSWERED = "machine_answered"  # a call of ours that is meant for persons
    PROMPT_REFUSED = "prompt_refused"  # the model cannot take the configured voice, role or sampling
    WORKER_LOST = "worker_lost"  # the worker died and no other slot came in time
    TOO_LONG = "too_long"  # the operator's limit on a call's length
    OPERATOR_HUNG_UP = "operator_hung_up"  # POST /v1/calls/{id}/hangup
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_ERROR = "internal_error"

    @property
    def fault(self) -> Fault:
        """Whose doing the end was."""
        return _FAULTS[self]


_FAULTS: dict[EndReason, Fault] = {
    EndReason.CALLER_HUNG_UP: Fault.CALLER,
    EndReason.CALLER_CANCELLED: Fault.CALLER,
    EndReason.AGENT_HUNG_UP: Fault.MODEL,
    EndReason.TRANSFERRED: Fault.MODEL,
    EndReason.MODEL_FAILED: Fault.MODEL,
    EndReason.TRUNK_FAILED: Fault.TRUNK,
    EndReason.MEDIA_LOST: Fault.TRUNK,
    EndReason.MEDIA_REFUSED: Fault.TRUNK,
    EndReason.OVER_LIMIT: Fault.CALLER,
    EndReason.NO_FREE_SLOT: Fault.US,
    EndReason.UNKNOWN_LINE: Fault.CALLER,
    EndReason.LINE_FULL: Fault.US,
    EndReason.NOT_ANSWERED: Fault.CALLER,
    EndReason.CALL_REFUSED: Fault.TRUNK,
    EndReason.MACHINE_ANSWERED: Fault.CALLER,
    EndReason.PROMPT_REFUSED: Fault.US,
    EndReason.WORKER_LOST: Fault.US,
    EndReason.TOO_LONG: Fault.US,
    EndReason.OPERATOR_HUNG_UP: Fault.US,
    EndReason.SHUTTING_DOWN: Fault.US,
    EndReason.INTERNAL_ERROR: Fault.US,
}
