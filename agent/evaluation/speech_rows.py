"""Rows about the agent's speech and the model's weight: no calls, the engine is told what to say."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from agent.energy_gate import Pcm
from agent.engines import model_folder
from agent.errors import AgentError
from agent.evaluation.figures import Figures
from agent.evaluation.judge import Judge
from agent.evaluation.metrics.intervals import Estimate, mean, rate_by_call
from agent.evaluation.spoken_lines import Spelling, say_all
from agent.evaluation.virtual_engine import build_engine
from agent.evaluation.word_choice import WordChooser
from agent.profile import load_tokens
from agent.settings import WorkerSettings
from agent.tick_loop import Stepper
from model.channel import fit, resample
from model.order_line import CALM_LINES, draw_number, draw_order
from model.said_sentences import HELD_OUT_SENTENCES
from model.training.agent_voice import AgentSentence, speak_line, speak_number, speak_readback
from model.voices import SAMPLE_RATE_HZ
from telephony.endpoint import FRAME_SAMPLES

TOLD_ROWS = ("lines", "words", "codec", "size")
FIXED_SHARE = 0.4  # of the lines; half of the others are orders, half numbers
PESQ_RATE_HZ = 8_000
NUM_PESQ_LINES = 24
SETTLE_FRAMES = 12  # of silence before a sentence
NUM_TIMED_CALLS = 2
NUM_STEPS, NUM_WARM_STEPS, AGE_FRAMES = 40, 10, 250
TICK_S = 0.08


@dataclass(slots=True)
class ToldRows:
    """The rows of `TOLD_ROWS`, by name, for one engine."""

    worker: WorkerSettings
    slots: int
    num: int  # trials
    seed: int
    judge: Callable[[], Judge]

    def figures(self, row: str) -> Figures:
        """A row's figures; a row about the built-in kind of model has none for other engines."""
        if row == "lines":
            return own_lines(self._engine(), load_tokens(self.worker), self.num, self.seed, self.judge())
        is_model = self.worker.engine == "builtin"
        if row == "words":
            return other_words(self._engine(), load_tokens(self.worker), self.num) if is_model else {}
        if row == "codec":
            engine: Any = self._engine()
            return (
                codec_pesq(engine.model.codec, min(self.num, NUM_PESQ_LINES), self.seed) if is_model else {}
            )
        size = size_of(model_folder(self.worker.model_dir)) if is_model else {}
        return size | calls_per_core(build_engine(self.worker, NUM_TIMED_CALLS))

    def _engine(self) -> Stepper:
        return build_engine(self.worker, self.slots)


def draw_lines(num: int, seed: int) -> list[AgentSentence]:
    """What the agent says on the order line, in its synthesiser's voice."""
    rng = random.Random(f"{seed}/lines")

    def draw() -> AgentSentence:
        if rng.random() < FIXED_SHARE:
            return speak_line(rng.choice(CALM_LINES))
        return speak_readback(draw_order(rng)) if rng.random() < 0.5 else speak_number(draw_number(rng))

    return [draw() for _ in range(num)]


def own_lines(stepper: Stepper, spelling: Spelling, num: int, seed: int, judge: Judge) -> Figures:
    """The order line's own sentences, told to the engine and judged as answers are."""
    texts = [line.text for line in draw_lines(num, seed)]
    flags = [False] * num

    def keep(number: int, pcm: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        flags[number] = len(pcm) > 0 and judge.hear(pcm).says(texts[number])

    say_all(stepper, spelling, texts, keep)
    return {"own_lines": rate_by_call([[flag] for flag in flags])}


def other_words(stepper: Stepper, spelling: Spelling, num: int) -> Figures:
    """Words of sentences that no training run has seen, each chosen among words that sound alike."""
    texts = HELD_OUT_SENTENCES[:num]
    chooser = WordChooser(texts)
    flags: list[list[bool]] = [[] for _ in texts]

    def keep(number: int, pcm: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        right, words = chooser.hear(texts[number], pcm)
        flags[number] = [place < right for place in range(words)]

    say_all(stepper, spelling, texts, keep)
    return {"other_words": rate_by_call(flags)}


def codec_pesq(codec: Any, num: int, seed: int) -> Figures:
    """PESQ-NB (ITU-T P.862) of the codec on the agent's own voice, at 8 kHz, without a line.

    `codec` is a model.codec.Codec. Raises AgentError if the package that computes it is missing.
    """
    if find_spec("pesq") is None:
        raise AgentError(
            "the row codec needs the package pesq: `.venv/bin/python -m pip install 'offhook[eval]'`"
        )
    scores = [[_pesq(codec, line.pcm)] for line in draw_lines(num, seed)]
    return {"codec_pesq": mean(scores)}


def _pesq(codec: Any, said: Pcm) -> float:
    """Of a sentence float32 [T] at 24 kHz, said after silence as in a call: a codec is cold only once."""
    import torch
    from pesq import pesq

    lead = np.zeros(SETTLE_FRAMES * FRAME_SAMPLES, np.float32)
    sentence = fit(said, (-(-len(said) // FRAME_SAMPLES) + 1) * FRAME_SAMPLES)
    whole = np.concatenate([lead, sentence])
    with torch.inference_mode():
        sound = torch.from_numpy(whole)[None, None].to(next(codec.parameters()).device)
        back = codec.decode(codec.encode(sound))[0, 0].float().cpu().numpy()
    before, after = (
        resample(pcm[len(lead) :], SAMPLE_RATE_HZ, PESQ_RATE_HZ)
        for pcm in (whole, np.asarray(back, np.float32))
    )
    return float(pesq(PESQ_RATE_HZ, before, after, "nb"))


def size_of(folder: Path) -> Figures:
    """What the model's folder weighs, in MB of 1,000,000 bytes."""
    num_bytes = sum(path.stat().st_size for path in _weights(folder))
    return {"megabytes": _single(num_bytes / 1e6)}


def _weights(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in (".safetensors", ".model", ".json"))


def calls_per_core(stepper: Stepper) -> Figures:
    """How many calls one core holds, by the CPU time of a step of all slots, as old calls cost it.

    Every thread's time counts. Leaves the slots as they are: the engine is of no use for calls afterwards.
    """
    stepper.age(AGE_FRAMES)
    pcm = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
    active = np.ones(stepper.num_slots, bool)
    spent_s = []
    for _ in range(NUM_WARM_STEPS + NUM_STEPS):
        began_s = time.process_time()
        stepper.step(pcm, active)
        spent_s.append(time.process_time() - began_s)
    step_s = float(np.median(spent_s[NUM_WARM_STEPS:]))
    return {"calls_per_core": _single(stepper.num_slots * TICK_S / step_s)}


def _single(value: float) -> Estimate:
    return Estimate(value, value, value, 1, 1)
