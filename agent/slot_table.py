"""Who holds which slot of one worker: the authority, whatever Redis says. No I/O here; I/O thread only."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from agent.wire import RefusalReason

REMEMBERED_CALLS = 4096  # fencing numbers of the latest calls; the oldest is forgotten first


@dataclass(frozen=True, slots=True)
class Holding:
    """One slot in one call's hands; `owner` is the connection that claimed it."""

    slot: int
    generation: int
    call_id: str
    fencing: int
    owner: int


class SlotTable:
    """Gives each slot away once; what names an earlier claim of a slot is recognised by its generation.

    Fencing: for one call the numbers must rise, so a claim that was delayed or repeated on its way gets
    nothing. Between two live claims a bigger number wins nothing: the slot is with whoever came first.
    """

    def __init__(self, num_slots: int) -> None:
        assert num_slots > 0, num_slots
        self._free = list(range(num_slots - 1, -1, -1))  # a stack: slot 0 is given first
        self._holdings: dict[int, Holding] = {}  # by slot
        self._slot_of: dict[str, int] = {}  # by call
        self._last_fencing: OrderedDict[str, int] = OrderedDict()
        self._generation = 0
        self.is_draining = False

    @property
    def num_used(self) -> int:
        """Slots that are given away."""
        return len(self._holdings)

    def claim(self, call_id: str, fencing: int, owner: int) -> Holding | RefusalReason:
        """Give the call a free slot, or say why not."""
        if self.is_draining:
            return RefusalReason.DRAINING
        if call_id in self._slot_of:
            return RefusalReason.ALREADY_CLAIMED
        if fencing <= self._last_fencing.get(call_id, -1):
            return RefusalReason.STALE_FENCING
        if not self._free:
            return RefusalReason.FULL
        self._remember(call_id, fencing)
        self._generation = (self._generation + 1) % 2**32
        held = Holding(self._free.pop(), self._generation, call_id, fencing, owner)
        self._holdings[held.slot] = held
        self._slot_of[call_id] = held.slot
        return held

    def find(self, slot: int, generation: int) -> Holding | None:
        """The live claim that these name, or None when it is over."""
        held = self._holdings.get(slot)
        return held if held is not None and held.generation == generation else None

    def release(self, held: Holding) -> None:
        """Make the slot free; harmless when it already is."""
        if self._holdings.get(held.slot) is held:
            del self._holdings[held.slot], self._slot_of[held.call_id]
            self._free.append(held.slot)

    def owned_by(self, owner: int) -> list[Holding]:
        """Every live claim of one connection."""
        return [held for held in self._holdings.values() if held.owner == owner]

    def _remember(self, call_id: str, fencing: int) -> None:
        self._last_fencing[call_id] = fencing
        self._last_fencing.move_to_end(call_id)
        if len(self._last_fencing) > REMEMBERED_CALLS:
            self._last_fencing.popitem(last=False)
