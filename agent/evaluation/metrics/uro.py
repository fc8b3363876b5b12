"""The part of URO-Bench (arXiv 2502.17810) that needs no judge: the Repeat set, and errors in what is spoken.

Left out, since each needs a model that judges: the open, semi-open, question, emotion, style, safety and
language sets (GPT or an audio language model), GenEmotion (an emotion recogniser) and UTMOS. Texts heard are
a recogniser's (the benchmark takes Whisper-large-v3). Their scripts also unify the spelling of numbers before
they compare the Repeat set; we do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.evaluation.metrics.word_errors import word_errors

MAX_REPEAT_WER = 0.5  # above it the model did something else than repeat


@dataclass(frozen=True, slots=True)
class RepeatScore:
    """The Repeat set, 0 to 100: share of repetitions times the words right in them."""

    is_ok: tuple[bool, ...]
    wer_of_ok: float  # plain mean over them; 1 if there is none

    @property
    def score(self) -> float:
        """ok rate x (1 - WER) x 100; 0 for an empty set."""
        return 100 * sum(self.is_ok) / len(self.is_ok) * (1 - self.wer_of_ok) if self.is_ok else 0.0


def repeat_score(pairs: Sequence[tuple[str, str]]) -> RepeatScore:
    """From (asked to repeat, heard)."""
    rates = [word_errors(said, heard).rate for said, heard in pairs]
    right = [rate for rate in rates if rate <= MAX_REPEAT_WER]
    return RepeatScore(
        tuple(rate <= MAX_REPEAT_WER for rate in rates), sum(right) / len(right) if right else 1.0
    )


def spoken_errors(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """WER of each spoken answer against the model's own text; their plain mean is the published figure."""
    return [word_errors(text, heard).rate for text, heard in pairs]
