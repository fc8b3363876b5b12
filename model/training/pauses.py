"""Where callers pause in a sentence, and for how long: to think, or only for breath."""

from __future__ import annotations

import random

from model.requests import Request

# Of requests that allow it, with a pause where the sentence is open: the agent waits however long it is.
THINKING_SHARE, THINKING_S = 0.6, (0.3, 1.2)
# And where it might have ended, but goes on: silence alone is no end. Short, or an answer would be due.
BREATH_SHARE, BREATH_S = 0.4, (0.2, 0.35)


def draw_pauses(request: Request, rng: random.Random) -> list[tuple[int, float]]:
    """After how many words the speaker pauses, and for how long in seconds; in order, two at the most."""
    pauses: dict[int, float] = {}
    for places, share, length_s in (
        (request.complete_words(), BREATH_SHARE, BREATH_S),
        (request.incomplete_words(), THINKING_SHARE, THINKING_S),
    ):
        if places and rng.random() < share:
            pauses[rng.choice(places)] = rng.uniform(*length_s)
    return sorted(pauses.items())
