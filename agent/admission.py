"""The right to a slot: a lease in Redis, then a claim on the worker; and both given back. Event loop only."""

import secrets

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.duplex import Pcm
from agent.errors import NoFreeSlot
from agent.pool import WorkerPool
from agent.slot import PromptRefused, Slot
from agent.store import SlotLease, Store
from model.control import CallProfile

log = structlog.get_logger(__name__)


class Admission:
    """Who may talk to which worker: one lease per live call."""

    def __init__(self, pool: WorkerPool, store: Store, profile: CallProfile) -> None:
        self._pool, self._store, self._profile = pool, store, profile
        self._leases: dict[str, SlotLease] = {}
        self._asked: dict[str, tuple[CallProfile, str]] = {}  # of each call: its profile and model

    async def grant(self, call_id: str, profile: CallProfile | None = None, model: str = "") -> Slot | None:
        """Lease and claim a slot of any worker, or any that has this model; None when all are taken.

        Raises PromptRefused.
        """
        self._asked[call_id] = profile or self._profile, model
        slot: Slot | None = None
        try:
            slot = await self._grant(call_id, self._pool.candidates(model))
        finally:
            if slot is None:
                del self._asked[call_id]
        return slot

    async def _grant(self, call_id: str, candidates: list[tuple[str, int]]) -> Slot | None:
        refusal: PromptRefused | None = None
        while candidates:
            lease = await self._store.lease_slot(call_id, candidates)
            if lease is None:
                break
            try:
                slot = await self._claim(lease)
            except PromptRefused as error:  # another worker may hold another model
                refusal, slot = error, None
            if slot is not None:
                self._leases[call_id] = lease
                return slot
            candidates = [one for one in candidates if one[0] != lease.worker_id]
        if refusal is not None:
            raise refusal
        return None

    async def grant_again(self, call_id: str, history: NDArray[np.int16], caller_pcm: Pcm) -> Slot:
        """Another slot for a call whose worker died, primed with what was said. Raises NoFreeSlot."""
        self._store.release_slot(self._leases[call_id])
        candidates = self._pool.candidates(self._asked[call_id][1])
        lease = await self._store.lease_slot(call_id, candidates) if candidates else None
        if lease is None:
            raise NoFreeSlot("no worker has a free slot")
        self._leases[call_id] = lease
        slot = await self._claim(lease, history if len(history) else None, caller_pcm)
        if slot is None:
            raise NoFreeSlot(f"worker {lease.worker_id} refused the claim")
        return slot

    async def give_back(self, call_id: str, slot: Slot) -> None:
        """The call is over."""
        await slot.release()
        self.let_go(call_id)

    def let_go(self, call_id: str) -> None:
        """The call needs its slot, which it has released, no more. Harmless twice."""
        lease = self._leases.pop(call_id, None)
        if lease is not None:
            self._store.release_slot(lease)
        self._asked.pop(call_id, None)

    async def _claim(
        self, lease: SlotLease, history: NDArray[np.int16] | None = None, caller_pcm: Pcm | None = None
    ) -> Slot | None:
        """The slot that a lease promises; without one the lease is given back. Raises PromptRefused."""
        slot: Slot | None = None
        try:
            slot = await self._pool.claim(
                lease.call_id,
                fencing=lease.fencing,
                seed=secrets.randbits(63),
                profile=self._asked[lease.call_id][0],
                worker_id=lease.worker_id,
                history=history,
                caller_pcm=caller_pcm,
            )
        except PromptRefused:
            raise
        except NoFreeSlot as error:
            log.info("claim_refused", worker_id=lease.worker_id, cause=str(error))
        finally:
            if slot is None:
                self._store.release_slot(lease)
        return slot
