"""Another slot for a call whose worker died: as soon as there is one, and told the conversation so far."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from agent.clock import Now
from agent.duplex import Duplex, ModelSlot
from agent.errors import NoFreeSlot, WorkerUnavailable
from agent.session_parts import Reclaim
from agent.slot import PromptRefused

RECOVERY_S = 25.0  # a restarted worker is ready within 20 s; after this the call is given up
RECLAIM_PAUSE_S = 0.25

log = structlog.get_logger(__name__)


async def another_slot(reclaim: Reclaim, duplex: Duplex, now: Now) -> ModelSlot | None:
    """The slot; None after RECOVERY_S without one.

    Raises PromptRefused when the model there cannot take this call: waiting changes nothing.
    """
    began_s = now()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECOVERY_S):
            while True:
                try:
                    slot = await reclaim(duplex.history, duplex.caller_pcm)
                except PromptRefused:  # one of the next, and of no use to repeat
                    raise
                except (NoFreeSlot, WorkerUnavailable):
                    await asyncio.sleep(RECLAIM_PAUSE_S)
                else:
                    log.info("call_recovered", worker_id=slot.worker_id, took_s=round(now() - began_s, 2))
                    return slot
    return None
