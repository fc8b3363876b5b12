"""A traced call can be lived through again, token for token; traces are bounded and their owner's alone."""

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent import trace as module
from agent.__main__ import main
from agent.clock import ManualClock
from agent.settings import Settings, WorkerSettings
from agent.standin import FORCE_RAISE, PAD_TOKEN, StandIn
from agent.talk import run_replay
from agent.tick_loop import Stepper
from agent.trace import Trace, TracedStepper, TraceError, replay
from agent.wire import FRAME_SAMPLES
from model.control import CallProfile
from telephony.audio import to_float, to_int16

PROFILE = CallProfile(voice="tone", text_temperature=0.5, text_bias=((3, -1.5),), banned=(7, 8))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int16)


def standin(num_slots: int = 2) -> StandIn:
    return StandIn(num_slots, mode="talk", step_s=0.0, row_step_s=0.0, clock=ManualClock())


def frames(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A caller's two rows: speech in every second second, and silence."""
    rng = np.random.default_rng(number)
    level = 3000 if number // 12 % 2 else 0
    return to_float((level * rng.standard_normal((2, FRAME_SAMPLES))).astype(np.int16))


def live(stepper: Stepper, num_steps: int = 40, slot: int = 1, **start: object) -> None:
    """A call with idle ticks and every kind of command."""
    stepper.start(slot, seed=2**62 + 1, profile=PROFILE, **start)  # type: ignore[arg-type]
    for number in range(num_steps):
        if number == 5:
            stepper.say(slot, [41, 42])
        if number == 9:
            stepper.silence(slot, 3)
        if number == 20:
            stepper.force_text(slot, 77)
        active = np.array([False, False])
        active[slot] = number % 7 != 3
        stepper.step(frames(number), active)
    stepper.stop(slot)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "traces"


def traced(folder: Path, **options: int) -> TracedStepper:
    return TracedStepper(standin(), folder, {"model": "standin"}, **options)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_kept_of_the_sound_is_exact() -> None:
    np.testing.assert_array_equal(to_int16(to_float(EVERY_SAMPLE)), EVERY_SAMPLE)


def test_a_call_is_kept_and_its_replay_is_equal(folder: Path) -> None:
    stepper = traced(folder)
    live(stepper)
    stepper.close()
    path = only(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = Trace.load(path)
    assert (kept.seed, kept.profile, kept.slot, kept.num_slots) == (2**62 + 1, PROFILE, 1, 2)
    assert kept.model == {"model": "standin"} and kept.is_exact and not kept.is_cut
    assert kept.pcm.shape == (34, FRAME_SAMPLES) and kept.columns.shape == (34, 17)
    assert [(kind, of) for _, kind, of in kept.commands] == [
        ("say", [41, 42]), ("silence", [3]), ("force", [77])
    ]  # fmt: skip
    np.testing.assert_array_equal(to_float(kept.pcm[0]), frames(0)[1])
    assert {41, 42, 77} <= set(kept.text.tolist())
    again = replay(standin(), kept)
    assert again.is_equal and again.num_steps == 34


def test_a_call_that_went_on_elsewhere_is_replayed_from_its_history(folder: Path) -> None:
    history = np.zeros((4, 17), np.int16)
    history[2, 0] = 1005
    stepper = traced(folder)
    live(stepper, history=history, caller_pcm=frames(13)[0])
    stepper.close()
    kept = Trace.load(only(folder))
    np.testing.assert_array_equal(kept.history, history)
    assert kept.caller_pcm.shape == (FRAME_SAMPLES,)
    assert replay(standin(), kept).is_equal


def test_another_engine_is_found_out(folder: Path) -> None:
    stepper = traced(folder)
    live(stepper)
    stepper.close()
    kept = Trace.load(only(folder))
    assert replay(standin(), replace(kept, commands=kept.commands[1:])).different.tolist()[:2] == [4, 5]
    assert not replay(standin(), replace(kept, columns=kept.columns + 1)).is_equal


def test_two_calls_are_two_files_and_a_call_without_a_frame_is_none(folder: Path) -> None:
    stepper = traced(folder)
    live(stepper)
    live(stepper, slot=0)
    stepper.start(0, seed=1)
    stepper.stop(0)
    stepper.stop(0)
    stepper.start(0, seed=1)
    stepper.step(frames(0), np.array([True, False]))
    stepper.close()  # the worker ends in this call
    assert sorted(len(Trace.load(path).pcm) for path in folder.iterdir()) == [1, 34, 34]


def test_a_long_call_is_cut(folder: Path) -> None:
    stepper = traced(folder, max_frames=10)
    live(stepper)
    stepper.close()
    kept = Trace.load(only(folder))
    assert (
        len(kept.pcm) == 10 and kept.is_cut and [kind for _, kind, _ in kept.commands] == ["say", "silence"]
    )
    assert replay(standin(), kept).is_equal


def test_a_call_in_which_a_step_failed_is_marked(folder: Path) -> None:
    stepper = traced(folder)
    stepper.start(0, seed=1)
    stepper.step(frames(0), np.array([True, False]))
    stepper.force_text(0, FORCE_RAISE)
    with pytest.raises(RuntimeError):
        stepper.step(frames(1), np.array([True, False]))
    stepper.stop(0)
    stepper.close()
    assert not Trace.load(only(folder)).is_exact


def test_a_disk_that_takes_nothing_harms_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    stepper = TracedStepper(standin(), Path("/proc/offhook"), {})
    for _ in range(4):
        live(stepper, num_steps=2)
    stepper.close()


def test_calibration_passes_through(folder: Path) -> None:
    stepper = traced(folder)
    stepper.age(100)
    assert stepper.step(frames(0), np.array([True, True])).text.tolist() == [PAD_TOKEN, PAD_TOKEN]
    stepper.close()
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\3\4 but no more"])
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(TraceError, match=r"x\.npz is no trace"):
        Trace.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", pcm=np.zeros(3))
    with pytest.raises(TraceError, match=r"y\.npz is no trace"):
        Trace.load(tmp_path / "y.npz")
    with pytest.raises(TraceError, match="No such file"):
        Trace.load(tmp_path / "z.npz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": np.zeros(3, np.int32)},
        {"pcm": np.zeros((34, 7), np.int16)},
        {"slot": 2},
        {"slot": 0.5},
        {"model": [1]},
        {"commands": ((0, "explode", [1]),)},
        {"commands": ((0, "silence", []),)},
        {"commands": ((0, "silence", [10**30]),)},
        {"commands": ((0, "say", [-1]),)},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(folder: Path, wrong: dict[str, object]) -> None:
    stepper = traced(folder)
    live(stepper)
    stepper.close()
    path = only(folder)
    kept = Trace.load(path)
    path.unlink()
    replace(kept, **wrong).save(path)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="no trace"):
        Trace.load(path)


def test_talk_wants_sounds_or_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk", "only-one.wav"]) == 2
    assert "--replay" in capsys.readouterr().err
    assert main(["talk", "--replay", "nowhere.npz"]) == 1
    assert "nowhere.npz is no trace" in capsys.readouterr().err


def test_the_command_says_whether_the_tokens_are_equal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stepper = traced(folder)
    live(stepper)
    stepper.close()
    path = only(folder)
    settings = Settings(worker=WorkerSettings(engine="standin"))
    assert run_replay(path, settings) == 0
    assert "34 steps: every token is equal" in capsys.readouterr().out
    kept = Trace.load(path)
    path.unlink()
    replace(kept, commands=(), model={"model": "another"}).save(path)
    assert run_replay(path, settings) == 1
    shown = capsys.readouterr().out
    assert "differ, first step 4" in shown and "model was another" in shown
