"""What a caller noticed when the agent's worker died, or its Redis: judged from the call's sound. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.energy_gate import Pcm, Segment
from agent.evaluation.judge import Judge, order_in
from agent.evaluation.outcome import ANSWER_PAUSE_S, MARGIN_S, CallOutcome, TurnOutcome
from agent.evaluation.segments import SAMPLE_RATE_HZ, speech_segments, talks
from model.order_line import GREETING


@dataclass(frozen=True, slots=True)
class Survival:
    """A call in which the caller ordered, something died, and the caller asked a question."""

    read_back: str  # what the agent made of the order, before
    is_understood: bool
    question: str  # what the caller asked after
    answer: str
    is_right: bool
    is_remembered: bool | None  # None: the order was not understood, so there was none to remember
    heard_after_s: float | None  # from the death to the agent's first voice, whatever it said
    answered_after_s: float | None  # from the question's end
    num_greetings: int  # after the death
    unasked: list[str]  # what the agent said between the death and the question


def survival_of(outcome: CallOutcome, agent: Pcm, died_s: float, judge: Judge) -> Survival:
    """Judge a call: `outcome` of its turns, the agent's channel float32 [T], and when the death was."""
    order, question = [*outcome.turns, None, None][:2]
    after = [talk for talk in _talks(agent) if talk.start_s > died_s]
    words = [judge.hear(_cut(agent, talk)) for talk in after]
    asked_s = question.start_s if question else outcome.seconds
    return Survival(
        read_back=order.heard if order else "",
        is_understood=order is not None and order.is_right,
        question=question.text if question else "",
        answer=question.heard if question else "",
        is_right=question is not None and question.is_right,
        is_remembered=_is_remembered(order, question) if order and order.is_right else None,
        heard_after_s=round(after[0].start_s - died_s, 3) if after else None,
        answered_after_s=question.gap_s if question else None,
        num_greetings=sum(said.says(GREETING.text) for said in words),
        unasked=[said.words for talk, said in zip(after, words, strict=True) if talk.start_s < asked_s],
    )


def _is_remembered(order: TurnOutcome, question: TurnOutcome | None) -> bool:
    """The answer is right, or reads the same drink back: what a repetition leaves out is the model's slip."""
    if question is None or question.is_right:
        return question is not None
    before, after = order_in(order.heard), order_in(question.heard)
    return before is not None and after is not None and before.drink == after.drink


def turns_between(turns: Sequence[TurnOutcome], start_s: float, end_s: float) -> list[TurnOutcome]:
    """The turns that were said wholly between two times."""
    return [turn for turn in turns if start_s <= turn.start_s and turn.end_s <= end_s]


def greets(agent: Pcm, judge: Judge) -> bool:
    """Whether the first that the agent says is its greeting."""
    return any(judge.hear(_cut(agent, talk)).says(GREETING.text) for talk in _talks(agent)[:1])


def _talks(agent: Pcm) -> list[Segment]:
    return talks(speech_segments(agent), ANSWER_PAUSE_S)


def _cut(agent: Pcm, talk: Segment) -> Pcm:
    start = max(0, round((talk.start_s - MARGIN_S) * SAMPLE_RATE_HZ))
    return agent[start : round((talk.end_s + MARGIN_S) * SAMPLE_RATE_HZ)]
