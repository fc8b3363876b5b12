"""What became of one scripted call: each turn placed to the sample, scored, and its answer judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.signal import correlate

from agent.energy_gate import Pcm, Segment
from agent.errors import AgentError
from agent.evaluation.judge import Judge, Verdict, is_own_line
from agent.evaluation.placed_call import AHEAD_SAMPLES
from agent.evaluation.scores import (
    MISS_S,
    SUSTAINED_S,
    BargeIn,
    TurnScore,
    score_barge_in,
    score_turn,
    without_backchannels,
)
from agent.evaluation.script import Manner, SaidTurn
from agent.evaluation.segments import SAMPLE_RATE_HZ, CallerTurn, speech_segments, talks
from model.order import Order
from model.order_line import (
    CANCELLED,
    CONFIRMED,
    GIVE_UP,
    GREETING,
    NOBODY,
    NUMBER_TAKEN,
    STILL_THERE,
    TRANSFER,
    OrderLine,
    Pending,
    in_tone,
)
from model.phrasings import Intent, Tone
from model.requests import Request
from model.voices import AGENT_VOICE, synthesize
from telephony.endpoint import FRAME_SAMPLES

ANSWER_PAUSE_S = 0.8  # silence inside one answer
MARGIN_S = 0.1  # of sound around what the judge hears
SEARCH_S = 0.5
MIN_CORRELATION = 0.7


@dataclass(frozen=True, slots=True)
class PlacedTurn:
    """A turn as it was said in a call; without a request the caller kept silent."""

    request: Request | None
    manner: Manner
    turn: CallerTurn

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        request = self.request
        return {
            "request": request.as_json() if request else None,
            "manner": self.manner.value,
            "start_s": self.turn.start_s,
            "end_s": self.turn.end_s,
            "pauses": [[pause.start_s, pause.end_s] for pause in self.turn.pauses],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> PlacedTurn:
        """What `as_json` gave."""
        request = Request.from_json(row["request"]) if row["request"] else None
        pauses = tuple(Segment(*pause) for pause in row["pauses"])
        return cls(request, Manner(row["manner"]), CallerTurn(row["start_s"], row["end_s"], pauses))


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """One turn: when it was said, what should have come, what came. Times from the tape's first sample."""

    intent: str  # "silence" for a turn without words
    text: str
    manner: str
    start_s: float
    end_s: float
    pauses: list[list[float]]
    expected: list[str]
    heard: str
    answer: list[float] | None  # from when to when that was said
    is_judged: bool  # False: the script itself cut the answer short
    is_right: bool
    gap_s: float | None
    is_miss: bool
    early_starts: list[float]
    barge_in: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """One call; JSON by `asdict`."""

    number: int
    voice: str
    seconds: float
    greeting_heard: str
    is_greeting_right: bool
    greeting_after_s: float | None
    turns: list[TurnOutcome]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge_call(
    number: int,
    voice: str,
    placed: Sequence[PlacedTurn],
    agent: Pcm,
    judge: Judge,
    heard: HeardAgent | None = None,
) -> CallOutcome:
    """Score and judge one call from the agent's channel, float32 [T] at 24 kHz.

    `heard` is of that channel, where the caller wants to know more of it than the answers.
    """
    heard = heard or HeardAgent(agent, judge)
    untils = [one.turn.start_s for one in placed[1:]] + [len(agent) / SAMPLE_RATE_HZ]
    first_s = placed[0].turn.start_s if placed else untils[-1]
    greeting = next((talk for talk in heard.answers if talk.start_s < first_s), None)
    before = greeted = heard.verdict(greeting)
    expected: tuple[str, ...] = (GREETING.text,)
    order: Order | None = None  # the last that was heard read back
    outcomes: list[TurnOutcome] = []
    for index, (one, until_s) in enumerate(zip(placed, untils, strict=False)):
        trial = _trial(one, heard, expected)
        order = before.order or order
        expected = expected_lines(one.request, before, order)
        is_cut = index + 1 < len(placed) and placed[index + 1].manner is Manner.CUT_IN
        talk = None if is_cut else heard.answer_to(one.turn, until_s, expected)
        answer = heard.verdict(talk)
        outcome = _outcome(one, until_s, heard.segments, trial, expected, answer, talk, is_cut=is_cut)
        outcomes.append(_timed_by_whole_line(outcome, talk))
        before = before if is_cut else answer
    after_s = round(greeting.start_s, 3) if greeting else None
    return CallOutcome(
        number, voice, round(untils[-1], 3), greeted.words, greeted.says(GREETING.text), after_s, outcomes
    )


class HeardAgent:
    """The agent's channel, float32 [T], with its segments, and what each talk says (judged once)."""

    def __init__(self, pcm: Pcm, judge: Judge) -> None:
        self._pcm, self.segments, self._judge = pcm, speech_segments(pcm), judge
        self.answers = talks(self.segments, ANSWER_PAUSE_S)
        self._verdicts: dict[Segment, Verdict] = {}

    @property
    def seconds(self) -> float:
        """Length of the channel."""
        return len(self._pcm) / SAMPLE_RATE_HZ

    def verdict(self, talk: Segment | None) -> Verdict:
        """What is said in it."""
        if talk is None:
            return Verdict("")
        if talk not in self._verdicts:
            start = max(0, round((talk.start_s - MARGIN_S) * SAMPLE_RATE_HZ))
            end = round((talk.end_s + MARGIN_S) * SAMPLE_RATE_HZ)
            self._verdicts[talk] = self._judge.hear(self._pcm[start:end])
        return self._verdicts[talk]

    def answer_to(self, turn: CallerTurn, until_s: float, expected: Sequence[str]) -> Segment | None:
        """The first talk that began after the turn did, outlasts it, and began before the next turn.

        As with the gap, "mm-hm" within the turn or right after it is no answer where one follows; but "One
        moment." is, where it is `expected` and what was looked up follows.
        """

        def is_answer(one: Segment) -> bool:
            if one.duration_s > SUSTAINED_S or one is found[-1]:
                return True
            return any(self.verdict(one).says(text) for text in expected)

        found = [
            one
            for one in talks(without_backchannels(turn, self.segments), ANSWER_PAUSE_S)
            if turn.start_s < one.start_s < until_s and one.end_s > turn.end_s + 0.2
        ]
        return next((one for one in found if is_answer(one)), None)


def _outcome(
    one: PlacedTurn,
    until_s: float,
    agent: Sequence[Segment],
    trial: BargeIn | None,
    expected: tuple[str, ...],
    answer: Verdict,
    talk: Segment | None,
    *,
    is_cut: bool,
) -> TurnOutcome:
    request, turn = one.request, one.turn
    score = score_turn(turn, agent, until_s, trial) if request else TurnScore(None, False, ())
    is_obeyed = trial is None or not trial.is_eligible or trial.is_success
    return TurnOutcome(
        intent=request.intent.value if request else "silence",
        text=request.text if request else "",
        manner=one.manner.value,
        start_s=round(turn.start_s, 3),
        end_s=round(turn.end_s, 3),
        pauses=[[round(pause.start_s, 3), round(pause.end_s, 3)] for pause in turn.pauses],
        expected=list(expected),
        heard=answer.words,
        answer=[round(talk.start_s, 3), round(talk.end_s, 3)] if talk else None,
        is_judged=not is_cut,
        is_right=not is_cut and is_obeyed and any(answer.says(text) for text in expected),
        gap_s=None if score.gap_s is None else round(score.gap_s, 3),
        is_miss=score.is_miss,
        early_starts=[round(at_s, 3) for at_s in score.early_starts],
        barge_in=asdict(trial) if trial else None,
    )


def _timed_by_whole_line(outcome: TurnOutcome, talk: Segment | None) -> TurnOutcome:
    """The same turn, its gap up to the short line that answered it, which the gap alone passes over."""
    is_waited_for = outcome.gap_s is not None or outcome.is_miss
    if talk is None or talk.duration_s > SUSTAINED_S or not is_waited_for:
        return outcome
    gap_s = talk.start_s - outcome.end_s
    return replace(outcome, gap_s=round(gap_s, 3), is_miss=False) if gap_s < MISS_S else outcome


def _trial(one: PlacedTurn, heard: HeardAgent, expected: tuple[str, ...]) -> BargeIn | None:
    """A barge-in into the line that was `expected` before this turn.

    An agent that said another line, to its end, has finished and not yielded: the judge hears a whole line,
    and none in what was broken off.
    """
    if one.manner is not Manner.CUT_IN:
        return None
    onset_s, agent = one.turn.start_s, heard.segments
    talk = next((talk for talk in talks(agent) if talk.start_s < onset_s < talk.end_s), None)
    trial = score_barge_in(onset_s, agent, talk.start_s + line_seconds(expected[0]) if talk else None)
    if talk is None or trial.stopped_at_s is None:
        return trial
    said = heard.verdict(Segment(talk.start_s, trial.stopped_at_s)).words
    return BargeIn(False, "another line was said to its end") if is_own_line(said) else trial


@cache
def line_seconds(text: str) -> float:
    """How long the agent's voice takes for a line, about."""
    words = synthesize(text, AGENT_VOICE).words
    return words[-1].end_s - words[0].start_s


def expected_lines(request: Request | None, before: Verdict, order: Order | None = None) -> tuple[str, ...]:
    """The right answers, given what the agent was heard to say before: a slip is held against it once.

    `order` is the last that was heard read back, which a change after its confirmation still changes.
    """
    if request is None:
        return (STILL_THERE.text, GIVE_UP.text)
    tone = request.tone
    if request.intent is Intent.REPEAT:
        return (before.words,) if before.words else (in_tone(GREETING, tone).text,)
    if request.intent is Intent.PERSON:
        put_through, nobody = in_tone(TRANSFER, tone).text, in_tone(NOBODY, tone).text
        return (put_through, nobody, f"{put_through} {nobody}")
    rules = OrderLine()
    rules.pending = _pending_after(before)
    if rules.pending in (Pending.CONFIRM, Pending.MORE):
        rules.order = before.order or order
    return (rules.answer(request).text,)


def _pending_after(before: Verdict) -> Pending:
    """What the line that was heard asks."""
    if before.order is not None:
        return Pending.CONFIRM
    if before.number is not None:
        return Pending.NUMBER
    asking = (in_tone(line, tone) for line in (CONFIRMED, NUMBER_TAKEN, CANCELLED) for tone in Tone)
    return Pending.MORE if any(before.says(line.text) for line in asking) else Pending.NOTHING


def place_turns(said: Sequence[SaidTurn], caller: Pcm) -> list[PlacedTurn]:
    """Where each turn lies in the caller's channel, found by correlation near where it was sent.

    A last turn that the end of the call cut off is left out. Raises AgentError if a turn has holes: then this
    machine was too busy to call from.
    """
    placed = []
    for one in said:
        place = _place(one.spoken.pcm, one.frame, caller)
        if place is None:
            break
        at_s, spoken = place / SAMPLE_RATE_HZ, one.spoken
        pauses = tuple(Segment(p.start_s + at_s, p.end_s + at_s) for p in spoken.pauses)
        turn = CallerTurn(at_s + spoken.start_s, at_s + spoken.end_s, pauses)
        placed.append(PlacedTurn(spoken.step.request, spoken.step.manner, turn))
    return placed


def _place(pcm: Pcm, frame: int, caller: Pcm) -> int | None:
    """First sample of `pcm` in the channel; None if the channel ends before it does."""
    sent = frame * FRAME_SAMPLES + AHEAD_SAMPLES
    if not len(pcm):
        return sent
    start = max(0, sent - round(SEARCH_S * SAMPLE_RATE_HZ))
    window = caller[start : sent + len(pcm) + round(SEARCH_S * SAMPLE_RATE_HZ)]
    if sent + len(pcm) > len(caller):
        return None
    match = correlate(window, pcm, "valid", "fft")
    at = int(np.argmax(match))
    power = float(np.linalg.norm(pcm) * np.linalg.norm(window[at : at + len(pcm)]))
    if match[at] < MIN_CORRELATION * power:
        raise AgentError("a caller's turn was not sent whole: this machine was too busy to call from")
    return start + at
