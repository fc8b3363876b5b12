"""`offhook talk IN.wav OUT.wav`: the model over a file, frame by frame, as a call would feed it.

`offhook talk --replay TRACE.npz` lives through a traced call again (`agent.trace`) and says whether every
token came out the same, as it does with the same model and kind of device.

The output holds two channels, caller left and agent right, on one clock: the agent's frame is written where a
caller would hear it if the network took no time.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.signal import resample_poly

from agent.engines import EngineChoice, EngineFactory, model_folder
from agent.errors import AgentError, ConfigError
from agent.settings import Settings
from agent.trace import Trace, replay
from model.engine import FRAME_SAMPLES, SAMPLE_RATE_HZ, Engine
from model.tokenizer import WORD_START, TextTokenizer

MAX_SECONDS = 1800
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class TalkError(AgentError):
    """A sound file cannot be read or written."""


@dataclass(frozen=True)
class Spoken:
    """What came of a run: sound float32 [T] of both sides and their words with times in seconds."""

    caller: NDArray[np.float32]
    agent: NDArray[np.float32]
    caller_words: list[tuple[float, str]]
    agent_words: list[tuple[float, str]]


def read_sound(path: Path) -> NDArray[np.float32]:
    """A sound file as float32 [T], mono, 24 kHz.

    Raises TalkError if it is missing, no sound, or too long.
    """
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise TalkError(
            f"cannot read {path} as sound: {error}; give a WAV, FLAC, OGG or Opus file"
        ) from error
    if not len(sound):
        raise TalkError(f"{path} holds no sound")
    if len(sound) > MAX_SECONDS * rate_hz:
        raise TalkError(f"{path} is longer than {MAX_SECONDS} s; cut it")
    return np.asarray(resample_poly(sound.mean(1), SAMPLE_RATE_HZ, rate_hz), np.float32)


class Words:
    """Pieces of one side put together into timed words."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self.words: list[tuple[float, str]] = []

    def add(self, token: int, time_s: float) -> None:
        """Take the token of one frame."""
        piece = self._tokenizer.piece(token)
        if piece.startswith(WORD_START) or (piece and not self.words):
            self.words.append((time_s, piece.removeprefix(WORD_START)))
        elif piece:
            start_s, word = self.words[-1]
            self.words[-1] = (start_s, word + piece)


def talk(engine: Engine, pcm: NDArray[np.float32], *, seed: int = 0, progress: bool = False) -> Spoken:
    """Feed a caller's sound float32 [T] to slot 0 of an engine until it ends or the model hangs up."""
    frames = -(-len(pcm) // FRAME_SAMPLES)
    caller = np.zeros(frames * FRAME_SAMPLES, np.float32)
    caller[: len(pcm)] = pcm
    active = np.zeros(engine.num_slots, bool)
    active[0] = True
    batch = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
    heard, said = Words(engine.tokenizer), Words(engine.tokenizer)
    sound = np.zeros((frames + 1) * FRAME_SAMPLES, np.float32)
    hung_up_at: int | None = None
    engine.start(0, seed=seed)
    try:
        for frame in track(range(frames), "talking", disable=not progress):
            if hung_up_at is not None and frame > hung_up_at + 6:
                break
            batch[0] = caller[frame * FRAME_SAMPLES : (frame + 1) * FRAME_SAMPLES]
            out = engine.step(batch, active)
            sound[(frame + 1) * FRAME_SAMPLES : (frame + 2) * FRAME_SAMPLES] = out.pcm[0]
            said.add(int(out.text[0]), (frame + 2) * FRAME_S)
            heard.add(int(out.caller_text[0]), (frame - 2) * FRAME_S)
            if int(out.text[0]) == engine.tokenizer.hangup and hung_up_at is None:
                hung_up_at = frame
    finally:
        engine.stop(0)
    return Spoken(np.pad(caller, (0, FRAME_SAMPLES)), sound, heard.words, said.words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `offhook talk`."""
    parser.add_argument("input", type=Path, nargs="?", help="the caller's side, any sound file")
    parser.add_argument("output", type=Path, nargs="?", help="WAV to write: caller left, agent right, 24 kHz")
    parser.add_argument("--replay", type=Path, help="instead: a call's trace to live through again")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the call (default 0)")
    parser.add_argument(
        "--tail", type=float, default=5.0, help="seconds of silence after the input (default 5)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """`offhook talk`: write both sides, print the dialogue."""
    if args.replay is not None:
        return run_replay(args.replay, settings)
    if args.input is None or args.output is None:
        raise ConfigError("name a sound file to hear and one to write, or a trace with --replay")
    pcm = np.pad(read_sound(args.input), (0, round(max(0.0, args.tail) * SAMPLE_RATE_HZ)))
    engine = Engine.load(model_folder(settings.worker.model_dir), 1)
    spoken = talk(engine, pcm, seed=args.seed, progress=True)
    try:
        soundfile.write(args.output, np.stack([spoken.caller, spoken.agent], axis=1), SAMPLE_RATE_HZ)
    except (soundfile.LibsndfileError, OSError) as error:
        raise TalkError(f"cannot write {args.output}: {error}") from error
    console = Console()
    lines = [(time_s, "caller", word) for time_s, word in spoken.caller_words]
    lines += [(time_s, "agent", word) for time_s, word in spoken.agent_words]
    for time_s, side, text in _sentences(sorted(lines)):
        console.print(f"{time_s:7.2f} s  {side:6s}  {text}", style="cyan" if side == "agent" else "default")
    return 0


def run_replay(path: Path, settings: Settings) -> int:
    """Live through a traced call again; 1 if a token differs."""
    trace, worker, console = Trace.load(path), settings.worker, Console()
    factory = EngineFactory(EngineChoice.of(worker))
    others = {name: value for name, value in factory.key().items() if trace.model.get(name, value) != value}
    for name, value in others.items():
        console.print(f"note: {name} was {trace.model[name]}, here it is {value}", highlight=False)
    if not trace.is_exact:
        console.print("note: a step failed in this call and was tried again; tokens may differ")
    found = replay(factory.build(trace.num_slots), trace)
    end = " of a longer call" if trace.is_cut else ""
    if found.is_equal:
        console.print(f"{found.num_steps} steps{end}: every token is equal")
        return 0
    first = int(found.different[0])
    console.print(
        f"{len(found.different)} of {found.num_steps} steps{end} differ, first step {first} "
        f"({first * FRAME_S:.2f} s)"
    )
    return 1


def _sentences(words: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Neighbouring words of one side joined into lines."""
    lines: list[tuple[float, str, str]] = []
    last_s = -10.0
    for time_s, side, word in words:
        if lines and lines[-1][1] == side and time_s - last_s < 1.2:
            lines[-1] = (lines[-1][0], side, f"{lines[-1][2]} {word}")
        else:
            lines.append((time_s, side, word))
        last_s = time_s
    return lines
