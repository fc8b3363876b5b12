"""A caller's tone while a call goes on: some get angry at a misunderstanding, some calm down again.

A stem has turns in one tone or in two; which of them its speaker is in is drawn as the call goes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from model.phrasings import Intent, Tone
from model.training.tokens_stage import TokenTurn

# What a caller says who was not understood, or has to ask again.
ANGERING = frozenset({Intent.NO, Intent.REPEAT, Intent.UNCLEAR, Intent.CANCEL})
ANGERED_SHARE = 0.5
CHANGED_SHARE = 0.25  # after any turn, towards another tone than anger


class Mood:
    """The tone that one caller is in; the one with most of their turns comes first."""

    def __init__(self, turns: Sequence[TokenTurn], rng: random.Random) -> None:
        counts = Counter(turn.request.tone for turn in turns if turn.request is not None)
        common = [tone for tone, _ in counts.most_common(2)] or [Tone.CALM]
        self.tone, self._other = common[0], common[-1]
        self._rng = rng

    def pick(self, turns: Sequence[TokenTurn]) -> list[TokenTurn]:
        """Those of the turns that are said in this mood, or all if none is."""
        own = [turn for turn in turns if turn.request is not None and turn.request.tone is self.tone]
        return own or list(turns)

    def after(self, intent: Intent) -> None:
        """Let the caller's mood change, or not, once they have said this and were answered."""
        if self._other is Tone.ANGRY:
            share = ANGERED_SHARE if intent in ANGERING else 0.0
        else:
            share = CHANGED_SHARE
        if self._rng.random() < share:
            self.tone, self._other = self._other, self.tone
