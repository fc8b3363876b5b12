"""The frame loop with a fake call and a fake slot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.duplex import CALLER_FRAMES, Duplex, Signal
from agent.energy_gate import find_segments
from agent.hold_music import ComfortTone
from agent.playout import FADE_SAMPLES, DcBlocker, Pcm
from agent.slot import WorkerLost
from agent.transcript import AGENT_LEAD_S, CALLER_LAG_S, Speaker, TimedWord
from telephony.endpoint import FRAME_SAMPLES, TICK_SAMPLES, EndpointEventKind
from tests.fakes import HANG_UP, NOBODY, PAD, TRANSFER, Answer, FakeEndpoint, FakeSlot, FakeTokens, settle


def sound(level: float = 0.2) -> Pcm:
    return np.asarray(level * np.sin(2 * np.pi * 300 * np.arange(FRAME_SAMPLES) / 24_000), np.float32)


class Scene:
    """One call in progress."""

    def __init__(self, answer: Callable[[int, Pcm], Answer | None]) -> None:
        self.clock = ManualClock()
        self.endpoint = FakeEndpoint(self.clock)
        self.slot = FakeSlot(self.clock, answer)
        self.words: list[TimedWord] = []
        self.duplex = Duplex(self.endpoint, FakeTokens(), self.clock, on_word=self.words.append)

    async def frames(self, count: int, caller: Pcm | None = None) -> None:
        for _ in range(count):
            self.endpoint.frame(caller)
            await settle()


@asynccontextmanager
async def calling(answer: Callable[[int, Pcm], Answer | None]) -> AsyncIterator[Scene]:
    scene = Scene(answer)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(scene.duplex.hear()), group.create_task(scene.duplex.converse(scene.slot))]
        await settle()
        yield scene
        for task in tasks:
            task.cancel()


async def test_every_frame_goes_to_the_model_and_its_answer_to_the_caller() -> None:
    async with calling(lambda number, pcm: Answer(pcm)) as scene:
        await scene.frames(1)
        await scene.frames(3, sound())
        await scene.frames(2)
    assert scene.duplex.frames_heard == scene.duplex.frames_answered == 6
    np.testing.assert_array_equal(scene.slot.heard[2], sound())
    heard = scene.endpoint.heard_by_caller
    start = int(np.flatnonzero(heard)[0])
    assert start == pytest.approx(2 * FRAME_SAMPLES + TICK_SAMPLES, abs=2)
    centre = DcBlocker()
    said = np.concatenate([centre.push(frame) for frame in (np.zeros_like(sound()), sound(), sound())])
    np.testing.assert_allclose(
        heard[start + FADE_SAMPLES :][:FRAME_SAMPLES],
        said[FRAME_SAMPLES + 1 + FADE_SAMPLES :][:FRAME_SAMPLES],
        atol=1e-6,
    )


async def test_words_of_both_sides_get_times_on_the_audio_clock() -> None:
    said = {5: Answer(text=12), 8: Answer(text=10, caller_text=13), 9: Answer(text=11)}
    async with calling(lambda number, pcm: said.get(number, Answer())) as scene:
        await scene.frames(16)
        scene.duplex.finish()
    told = {(word.speaker, word.text): word for word in scene.words}
    assert set(told) == {(Speaker.AGENT, "hello"), (Speaker.AGENT, "goodbye"), (Speaker.CALLER, "latte")}
    # frame 5 ends at 0.48 s; its answer plays behind 20 ms of queue, the word a little behind its token
    assert told[Speaker.AGENT, "hello"].start_s == pytest.approx(0.48 + 0.02 + AGENT_LEAD_S, abs=0.021)
    assert told[Speaker.CALLER, "latte"].end_s == pytest.approx(0.72 - CALLER_LAG_S, abs=0.001)


async def test_control_tokens_become_signals_once_each() -> None:
    said = {1: Answer(text=TRANSFER), 3: Answer(text=HANG_UP), 4: Answer(text=-1)}
    async with calling(lambda number, pcm: said.get(number, Answer())) as scene:
        await scene.frames(6)
        signals = scene.duplex.signals
        assert [signals.get_nowait() for _ in range(signals.qsize())] == [Signal.TRANSFER, Signal.HANG_UP]
        await scene.duplex.force(NOBODY)
        await scene.duplex.force(-1)
    assert scene.slot.forced == [NOBODY]


async def test_a_held_caller_hears_nothing_and_the_model_hears_silence() -> None:
    async with calling(lambda number, pcm: Answer(sound())) as scene:
        scene.duplex.is_held = True
        await scene.frames(4, sound())
    assert not scene.endpoint.heard_by_caller.any()
    assert not np.any(scene.slot.heard)


async def test_what_waits_is_flushed_when_the_model_stops_under_the_callers_voice() -> None:
    async with calling(lambda number, pcm: Answer(sound() if number < 12 else None)) as scene:
        await scene.frames(6)
        await scene.frames(12, sound())
        assert scene.endpoint.num_flushed == 1
        assert scene.duplex.playout.counts.flushed_samples == TICK_SAMPLES
    async with calling(lambda number, pcm: Answer(sound() if number < 12 else None)) as other:
        await other.frames(18)
    assert other.endpoint.num_flushed == 0  # it ended its own turn: every sample is heard


async def test_a_lost_slot_raises_and_the_caller_hears_a_comfort_tone_until_the_next() -> None:
    scene = Scene(lambda number, pcm: Answer(text=12))
    hearing = asyncio.create_task(scene.duplex.hear())
    talking = asyncio.create_task(scene.duplex.converse(scene.slot))
    await settle()
    await scene.frames(40, sound(0.1))
    scene.slot.lose(WorkerLost("worker w0 died"))
    await scene.frames(30)
    with pytest.raises(WorkerLost):
        await talking
    tail = scene.endpoint.heard_by_caller[-30 * FRAME_SAMPLES :]
    assert tail.any() and find_segments(tail) == []  # soft beeps, never taken for speech
    assert scene.duplex.history.shape == (40, 3) and scene.duplex.history[-1].tolist() == [12, 39, 0]
    assert scene.duplex.caller_pcm.shape == (CALLER_FRAMES * FRAME_SAMPLES,)
    second = FakeSlot(scene.clock, lambda number, pcm: Answer(text=PAD), "w1")
    talking = asyncio.create_task(scene.duplex.converse(second))
    await scene.frames(2)
    assert len(second.heard) == 2
    for task in (hearing, talking):
        task.cancel()
    await asyncio.gather(hearing, talking, return_exceptions=True)


async def test_quiet_means_said_and_played() -> None:
    async with calling(lambda number, pcm: Answer(sound() if number < 10 else None)) as scene:
        await scene.frames(2)
        waiting = asyncio.create_task(scene.duplex.until_quiet())
        await scene.frames(12)
        assert not waiting.done()  # 10 sounding, then the gate's hold
        await scene.frames(5)
        assert waiting.done()


async def test_bridge_times_are_noted_for_every_frame() -> None:
    async with calling(lambda number, pcm: Answer()) as scene:
        await scene.frames(5)
    assert len(scene.duplex.bridge.up_s) == 5
    assert max(scene.duplex.bridge.up_s) < 0.001  # the fake slot collects at once
    assert scene.duplex.bridge.down_s[-1] == pytest.approx(0.02)  # one margin, at a tick


async def test_hearing_ends_with_the_call() -> None:
    scene = Scene(lambda number, pcm: None)
    hearing = asyncio.create_task(scene.duplex.hear())
    await scene.frames(2)
    scene.endpoint.happen(EndpointEventKind.ENDED)
    await asyncio.wait_for(hearing, 1)
    assert scene.duplex.audio_s == pytest.approx(0.16)


def test_the_comfort_tone_is_soft_and_sparse() -> None:
    tone = ComfortTone()
    pcm = np.concatenate([tone.next() for _ in range(50)])
    assert 0.01 < np.abs(pcm).max() <= 0.02
    assert np.count_nonzero(pcm) <= 2 * FRAME_SAMPLES


async def test_lost_frames_do_not_move_the_floors_clock() -> None:
    async with calling(lambda number, pcm: Answer()) as scene:
        await scene.frames(2)
        scene.endpoint.tick_number += 3  # the next frame ends on tick 16, not 12: 80 ms were lost
        await scene.frames(3, sound())
        assert scene.duplex.floor.caller_gate.open_since_s == pytest.approx(0.24)
        assert scene.duplex.floor.caller_gate.now_s == pytest.approx(scene.duplex.audio_s)


async def test_what_was_given_to_say_is_followed_until_it_is_said_or_lost() -> None:
    said = {2: Answer(text=12), 4: Answer(text=13)}
    async with calling(lambda number, pcm: said.get(number, Answer())) as scene:
        assert await scene.duplex.say([12, 10, 13]) and await scene.duplex.silence(5)
        await scene.frames(6)
        assert scene.slot.said == [[12, 10, 13]] and scene.slot.silences == [5]
        assert scene.duplex.forget_sentence() == 2  # 10 never came
        assert scene.duplex.forget_sentence() == 0


async def test_without_a_slot_nothing_can_be_said() -> None:
    scene = Scene(lambda number, pcm: Answer())
    assert not await scene.duplex.say([12]) and not await scene.duplex.silence(5)
