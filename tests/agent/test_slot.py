"""A slot's queue is bounded and its errors come at once."""

import asyncio

import numpy as np
import pytest

from agent.slot import MAX_UNREAD_REPLIES, ClaimRefused, Slot, SlotFault, SlotReply, WorkerLost
from agent.wire import FRAME_SAMPLES, CallerFrame, Claimed, ForceText, RefusalReason, Say, Silence

QUIET = np.zeros(FRAME_SAMPLES, np.float32)


class Line:
    """A connection that keeps what is offered."""

    worker_id = "w0"

    def __init__(self) -> None:
        self.offered: list[CallerFrame | ForceText | Say | Silence] = []
        self.forgotten: list[Slot] = []
        self.is_full = False

    def next_tick_s(self, after_s: float) -> float:
        return after_s + 1.0

    def offer(self, message: CallerFrame | ForceText | Say | Silence) -> bool:
        if not self.is_full:
            self.offered.append(message)
        return not self.is_full

    def forget(self, slot: Slot) -> None:
        self.forgotten.append(slot)


def make_slot() -> tuple[Slot, Line]:
    line = Line()
    return Slot(line, Claimed("a", 1, slot=3, generation=9, start_seconds=0.5)), line


def reply(number: int) -> SlotReply:
    return SlotReply(number, QUIET, 3, 3, np.zeros(17, np.int16), 1.0, 1.1, 1.2, 0.02)


async def test_frames_are_numbered_and_carry_the_claim() -> None:
    slot, line = make_slot()
    assert [await slot.send(QUIET + 0.5), await slot.send(QUIET)] == [0, 1]
    first = line.offered[0]
    assert isinstance(first, CallerFrame)
    assert (first.slot, first.generation, first.number) == (3, 9, 0) and np.all(first.pcm == 16384)
    assert (slot.worker_id, slot.start_seconds, slot.next_tick_s(2.0)) == ("w0", 0.5, 3.0)


async def test_a_full_stream_drops_the_frame_and_counts_it() -> None:
    slot, line = make_slot()
    line.is_full = True
    await slot.send(QUIET)
    line.is_full = False
    assert await slot.send(QUIET) == 1
    assert slot.num_frames_dropped == 1 and len(line.offered) == 1


async def test_forced_tokens_are_sent() -> None:
    slot, line = make_slot()
    await slot.force_text(77)
    assert [(m.slot, m.generation, m.token) for m in line.offered if isinstance(m, ForceText)] == [(3, 9, 77)]


async def test_sentences_and_silences_are_sent_unless_the_stream_is_full() -> None:
    slot, line = make_slot()
    assert await slot.say([4, 5]) and await slot.say([]) and await slot.silence(12)
    first, second, third = line.offered
    assert isinstance(first, Say) and (first.slot, first.generation, first.tokens.tolist()) == (3, 9, [4, 5])
    assert isinstance(second, Say) and second.tokens.shape == (0,)
    assert isinstance(third, Silence) and third.frames == 12
    line.is_full = True
    assert not await slot.say([4]) and not await slot.silence(0)


async def test_replies_that_nobody_reads_are_dropped_oldest_first() -> None:
    slot, _ = make_slot()
    for number in range(MAX_UNREAD_REPLIES + 2):
        slot.accept(reply(number))
    replies = slot.replies()
    assert [(await anext(replies)).number for _ in range(MAX_UNREAD_REPLIES)] == list(range(2, 10))
    assert slot.num_replies_dropped == 2


async def test_release_ends_a_waiting_reader_and_happens_once() -> None:
    slot, line = make_slot()

    async def read() -> list[int]:
        return [r.number async for r in slot.replies()]

    reading = asyncio.ensure_future(read())
    slot.accept(reply(0))
    await asyncio.sleep(0)
    await slot.release()
    await slot.release()
    assert await reading == [0] and line.forgotten == [slot]


@pytest.mark.parametrize("error", [WorkerLost("gone"), SlotFault("broken")])
async def test_a_lost_slot_raises_everywhere_even_before_queued_replies(
    error: WorkerLost | SlotFault,
) -> None:
    slot, _ = make_slot()
    replies = slot.replies()
    waiting = asyncio.ensure_future(anext(replies))
    await asyncio.sleep(0)
    slot.accept(reply(0))
    slot.fail(error)
    with pytest.raises(type(error)):
        await waiting
    with pytest.raises(type(error)):
        await slot.send(QUIET)
    for telling in (slot.force_text(1), slot.say([1]), slot.silence(1)):
        with pytest.raises(type(error)):
            await telling
    with pytest.raises(type(error)):
        await anext(slot.replies())
    await slot.release()


def test_a_refusal_names_worker_and_reason() -> None:
    assert str(ClaimRefused("w0", RefusalReason.FULL)) == "worker w0 refused a claim: full"
    assert str(ClaimRefused("w0", RefusalReason.PROMPT, "no voice x")).endswith("prompt (no voice x)")
    assert "reason 99" in str(ClaimRefused("w0", 99))
