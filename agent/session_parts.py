"""What a session works with, beside the call and its slot: the same for a call's life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.clock import Now
from agent.consent import ConsentRules
from agent.duplex import ModelSlot, Pcm, Tokens
from agent.machine_detection import MachineDetector
from agent.outbound import DEFAULT_TRUNK
from agent.recording import Recorder
from agent.settings import AgentSettings, CallSettings
from agent.store import SessionRecord
from agent.transfer import Desk
from agent.transfer_settings import TransferMode

Reclaim = Callable[[NDArray[np.int16], Pcm], Awaitable[ModelSlot]]


class Records(Protocol):
    """Where a call's record goes: `agent.store.Store`."""

    def save(self, record: SessionRecord) -> None:
        """Note this state; never waits."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session works with, beside the call and its slot."""

    tokens: Tokens
    limits: CallSettings
    records: Records
    reclaim: Reclaim  # another slot, given int16 [T, 1 + 2K] and float32 [N]; NoFreeSlot, WorkerUnavailable
    now: Now
    recorder: Recorder | None = None
    has_consent: bool = False
    agent: AgentSettings = field(default_factory=AgentSettings)  # its greeting, and whom it asks
    consent: ConsentRules = field(default_factory=ConsentRules)  # of the recorder
    desk: Desk | None = None  # what hands callers over; None: nobody takes one
    transfer_mode: TransferMode = "blind"  # of transfers that the model asks for
    detector: MachineDetector | None = None  # of a call of ours: who took it
    hangs_up_on_machines: bool = False
    caller_hash: str | None = None  # for the sidecar: finds a caller's recordings, tells no number
    headers: Mapping[str, str] = field(default_factory=dict)  # of the INVITE, that its trunk passes on
    trunk: str = DEFAULT_TRUNK  # that the call came or went by
    let_go: Callable[[], None] = lambda: None  # the call goes on without its slot: others may lease it
