"""The language model in a few calls as it will live them: fed its own tokens, the callers' as scripted.

Teacher forcing hides what matters (a model with 0.995 of its text right answered no order), so training
watches this. Callers do not wait for the model here: their turns come when the script has them, so a model
that is late in one answer may be cut short by the next turn. It is a figure to watch, not `offhook eval`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import SamplingConfig
from model.generate import Generator
from model.lm import Lm
from model.order_line import Intent, Line
from model.tokenizer import TextTokenizer
from model.training.call_writer import Call, CallWriter
from model.training.dialogues import Drawing, Scriptwriter
from model.training.tokens_stage import TokenStem, TokenTurn

EARLY_FRAMES = 10  # an answer may come so much before its scripted moment
LATE_FRAMES = 20
YIELD_FRAMES = 25  # two seconds
QUIET_FRAMES = 4  # of silence in a row: the agent has stopped
TURN_MARGIN_FRAMES = 3  # at a turn's ends, where speech of the agent is no interruption


@dataclass(frozen=True, slots=True)
class ScriptedLine:
    """What the agent is to say, in columns of the call."""

    start: int
    end: int
    is_told: bool
    cut: int | None = None  # where it falls silent, interrupted


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """What the caller is heard to say; `wants_answer` is false for hums and sounds not for the agent."""

    first: int
    last: int
    wants_answer: bool


@dataclass
class ScriptedCall:
    """A call with the truth about it."""

    call: Call
    lines: list[ScriptedLine] = field(default_factory=list)
    turns: list[HeardTurn] = field(default_factory=list)


class _LoggingWriter(CallWriter):
    """A writer that remembers what it placed."""

    lines: list[ScriptedLine]
    turns: list[HeardTurn]

    def say(self, line: Line, start: int, *, is_told: bool = False) -> None:
        super().say(line, start, is_told=is_told)
        self.lines.append(ScriptedLine(start, self.at, is_told))

    def hear(self, turn: TokenTurn, onset: int) -> int:
        last = super().hear(turn, onset)
        wants_answer = turn.request is not None and turn.request.intent is not Intent.BACKCHANNEL
        self.turns.append(HeardTurn(onset, last, wants_answer))
        return last

    def cut(self, at: int) -> None:
        super().cut(at)
        if at < self.num_columns:
            self.lines[-1] = replace(self.lines[-1], cut=at)


def rehearsals(
    scripts: Scriptwriter, stems: Sequence[TokenStem], rng: random.Random, count: int
) -> list[ScriptedCall]:
    """So many calls of these callers, without told sentences between."""
    calls = []
    for _ in range(count):
        stem = rng.choice(stems)
        plain = scripts.writer(stem, rng)
        hears_manner = scripts.hears_manner
        writer = _LoggingWriter(
            stem, plain.library, plain.spelling, plain.num_columns, rng, hears_manner=hears_manner
        )
        writer.lines, writer.turns = [], []
        drawing = Drawing(writer, scripts.tokenizer, rng, is_retoned=hears_manner)
        calls.append(ScriptedCall(drawing.draw(), writer.lines, writer.turns))
    return calls


@dataclass
class Tally:
    """Counts over calls; each figure is a mean of what applied."""

    right: list[bool] = field(default_factory=list)
    early: list[bool] = field(default_factory=list)
    yielded: list[bool] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    gap_frames: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """What there was to measure; shares of 1, and the median gap in frames of 80 ms."""
        shares = {
            "loop_right": self.right,
            "loop_early_share": self.early,
            "loop_yield_share": self.yielded,
            "loop_kept_share": self.kept,
        }
        out = {name: float(np.mean(values)) for name, values in shares.items() if values}
        if self.gap_frames:
            out["loop_gap_frames"] = float(np.median(self.gap_frames))
        return out


class Rehearsal:
    """Lets a language model live through scripted calls, and counts."""

    def __init__(
        self,
        calls: Sequence[ScriptedCall],
        tokenizer: TextTokenizer,
        silence: NDArray[np.int64],
        sampling: SamplingConfig,
    ) -> None:
        """`silence` int64 [agent_q] is the agent's silent frame."""
        self.calls, self.tokenizer, self.silence, self.sampling = calls, tokenizer, silence, sampling

    def __call__(self, lm: Lm) -> dict[str, float]:
        """What became of it: names begin with `loop_`."""
        texts, is_quiet = self._live(lm)
        tally = Tally()
        for row, scripted in enumerate(self.calls):
            self._count(scripted, texts[row], is_quiet[row], tally)
        return tally.figures()

    def _live(self, lm: Lm) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Text int64 [B, T] as drawn, and where the agent's frame was the silent one, bool [B, T]."""
        calls = [scripted.call for scripted in self.calls]
        device = lm.text_linear.weight.device
        caller = torch.from_numpy(np.stack([call.caller for call in calls])).to(device)
        num_calls, _, length = caller.shape
        silence = torch.from_numpy(self.silence).to(device)
        generator = Generator(lm, num_calls, self.sampling, silence=silence)
        active = torch.ones(num_calls, dtype=torch.bool, device=device)
        texts, quiet = [], []
        for column in range(length):
            for row, call in enumerate(calls):
                if call.forced[column]:
                    generator.controls.force_text(row, int(call.text[column]))
            drawn = generator.step(caller[:, :, max(0, column - 1)], active)
            texts.append(drawn.text)
            quiet.append((drawn.frame == silence).all(1) | (drawn.frame < 0).any(1))
        late = lm.config.max_delay
        is_quiet = torch.stack(quiet[late:] + quiet[-1:] * late, dim=1).cpu().numpy()
        return torch.stack(texts, dim=1).cpu().numpy(), is_quiet

    def _is_word(self, text: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((text != self.tokenizer.pad) & (text != self.tokenizer.epad), np.bool_)

    def _count(
        self, scripted: ScriptedCall, text: NDArray[np.int64], is_quiet: NDArray[np.bool_], tally: Tally
    ) -> None:
        for line, since, until in self._windows(scripted):
            if line.cut is not None:
                onsets = (turn.first for turn in scripted.turns if turn.first < line.cut)
                onset = max(onsets, default=line.cut)
                if _can_tell(is_quiet, line, onset):
                    tally.yielded.append(_stops(is_quiet, line, onset))
                continue
            window = slice(max(since, line.start - EARLY_FRAMES), until)
            wanted = self.tokenizer.decode(scripted.call.text[max(0, line.start - 1) : until].tolist())
            is_right = self.tokenizer.decode(text[window].tolist()) == wanted
            tally.right.append(is_right)
            tally.kept += [is_right for turn in scripted.turns if _is_aside(turn, line)]
            asked = [turn.last for turn in scripted.turns if turn.wants_answer and turn.last < line.start]
            words = self._is_word(text[window]).nonzero()[0]
            if asked and line.start - asked[-1] <= 5 and len(words):
                tally.gap_frames.append(float(window.start + words[0] - asked[-1]))
        whole = [turn for turn in scripted.turns if turn.wants_answer and turn.last < scripted.call.end]
        tally.early += [self._is_early(turn, scripted, text) for turn in whole]

    @staticmethod
    def _windows(scripted: ScriptedCall) -> Iterator[tuple[ScriptedLine, int, int]]:
        """Each line that the model itself is to say, and the columns where its time begins and ends.

        What is left of an interrupted line before it is not its words.
        """
        end = scripted.call.end
        last = ScriptedLine(end + EARLY_FRAMES, end + EARLY_FRAMES, True)
        since = 0
        for line, following in pairwise([*scripted.lines, last]):
            if not line.is_told and line.end < end:
                yield line, since, min(line.end + LATE_FRAMES, following.start - EARLY_FRAMES, end)
            since = line.cut or 0

    def _is_early(self, turn: HeardTurn, scripted: ScriptedCall, text: NDArray[np.int64]) -> bool:
        """Whether words came inside a turn, where the script has none."""
        inside = slice(turn.first + TURN_MARGIN_FRAMES, turn.last - TURN_MARGIN_FRAMES)
        return bool((self._is_word(text[inside]) & ~self._is_word(scripted.call.text[inside])).any())


def _latest(line: ScriptedLine, onset: int) -> int:
    """The column by which an agent that yields is silent: later ones may be those of a line that was over."""
    return min(onset + YIELD_FRAMES, line.end - 2 * QUIET_FRAMES)


def _can_tell(is_quiet: NDArray[np.bool_], line: ScriptedLine, onset: int) -> bool:
    """Whether the agent was speaking when it was interrupted, and would have gone on for long enough."""
    return line.cut is not None and line.cut < _latest(line, onset) and not is_quiet[onset - 1]


def _stops(is_quiet: NDArray[np.bool_], line: ScriptedLine, onset: int) -> bool:
    after = is_quiet[onset : _latest(line, onset) + QUIET_FRAMES]
    return bool(np.lib.stride_tricks.sliding_window_view(after, QUIET_FRAMES).all(1).any())


def _is_aside(turn: HeardTurn, line: ScriptedLine) -> bool:
    return not turn.wants_answer and line.start < turn.first < line.end
