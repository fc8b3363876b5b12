"""Leases and claims in step: nothing leased without a slot, nothing claimed without a lease."""

from typing import Any, cast

import numpy as np
import pytest

from agent.admission import Admission
from agent.errors import NoFreeSlot
from agent.slot import PromptRefused
from agent.wire import RefusalReason
from model.control import CallProfile
from tests.agent.test_gateway import Leases, Pool, a_slot

NOTHING = (np.zeros((0, 0), np.int16), np.zeros(0, np.float32))


def admission(workers: Any) -> tuple[Admission, Pool, Leases]:
    pool, store = Pool(workers), Leases()
    return Admission(cast(Any, pool), cast(Any, store), CallProfile(voice="tone")), pool, store


async def test_a_granted_slot_is_given_back_with_its_lease() -> None:
    slot = a_slot()
    gate, pool, store = admission({"w0": [slot]})
    granted = await gate.grant("call")
    assert granted is cast(Any, slot) and len(store.held) == 1
    assert pool.profiles == [CallProfile(voice="tone")]
    assert await gate.grant("second") is None and len(store.held) == 1
    await gate.give_back("call", cast(Any, slot))
    assert slot.num_releases == 1 and store.held == []


async def test_a_refusal_by_every_worker_is_raised_and_leases_nothing() -> None:
    refusal = PromptRefused("w0", RefusalReason.PROMPT, "no voice of that name")
    gate, _, store = admission({"w0": refusal, "w1": NoFreeSlot("taken")})
    with pytest.raises(PromptRefused):
        await gate.grant("call")
    assert store.held == []


async def test_a_call_whose_worker_died_gets_a_new_lease_or_none() -> None:
    first, second = a_slot(), a_slot("w1")
    gate, pool, store = admission({"w0": [first]})
    await gate.grant("call")
    with pytest.raises(NoFreeSlot, match="no worker"):
        await gate.grant_again("call", *NOTHING)
    assert store.held == []
    pool.workers = {"w1": [second]}
    again = await gate.grant_again("call", *NOTHING)
    assert again is cast(Any, second)
    assert [(lease.worker_id, lease.fencing) for lease in store.held] == [("w1", 2)]
    assert pool.claims[-1] == ("w1", 2, False)  # nothing was said yet: no history to prime with
    await gate.give_back("call", again)
    assert store.held == []


async def test_a_call_that_goes_on_without_its_slot_lets_others_lease_it() -> None:
    slot = a_slot()
    gate, _, store = admission({"w0": [slot]})
    await gate.grant("call")
    gate.let_go("call")
    assert store.held == []
    await gate.give_back("call", cast(Any, slot))
    assert slot.num_releases == 1 and store.held == []
