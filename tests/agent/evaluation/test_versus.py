"""Orders are sorted by what was heard; figures are those of the calls; noise is as loud as asked."""

import random
from typing import Any

import numpy as np
import pytest

from agent.evaluation.offline import offline_call
from agent.evaluation.script import Manner
from agent.evaluation.summary import summarise
from agent.evaluation.versus import figures_of, order_outcomes, short_script, short_steps
from model.channel import active_rms
from model.order_line import NOT_UNDERSTOOD
from model.phrasings import Intent


def order(heard: str, *, is_right: bool = False) -> dict[str, Any]:
    """A judged order."""
    return {"intent": "order", "heard": heard, "is_right": is_right, "is_judged": True, "gap_s": 0.4,
            "early_starts": [], "pauses": [], "is_miss": False, "barge_in": None}  # fmt: skip


ROWS = [
    order("a large latte is that right", is_right=True),
    order("a small latte is that right"),
    order("sorry i did not get that can you say it again"),
    order(""),
]


def test_orders_are_sorted_by_what_was_heard() -> None:
    found = order_outcomes(ROWS)
    assert NOT_UNDERSTOOD.text.startswith("Sorry, I did not get that")
    assert [(one.right, one.num) for one in (found.right, found.wrong, found.again, found.else_)] == [
        (1, 4)
    ] * 4


def test_figures_are_of_the_turns_with_words() -> None:
    early = {**order("", is_right=False), "gap_s": None, "early_starts": [1.0]}
    silent = {**order(""), "intent": "silence", "gap_s": 9.0}
    call = {"turns": [*ROWS, early, silent], "is_greeting_right": True}
    figures = figures_of("cascade", "clean", summarise([call]), [call])
    assert figures.gaps_s == (0.4,) * 4 and figures.num_early == 1
    assert figures.gaps.p50 == pytest.approx(0.4) and figures.as_json()["engine"] == "cascade"


def test_a_short_call_has_what_is_compared() -> None:
    steps = short_steps(random.Random(1), 0)
    orders = [step for step in steps if step.request is not None and step.request.intent is Intent.ORDER]
    assert len(orders) == 4 and sum(step.has_pause for step in orders) == 2
    assert sum(step.manner is Manner.CUT_IN for step in steps) == 2
    assert all(o.request.order.milk and o.request.order.size for o in orders if o.request and o.request.order)


def test_noise_is_so_far_below_the_speech_and_is_not_what_is_placed_by() -> None:
    script = short_script(0, 0)
    noisy, clean = (offline_call(script, 60.0, snr_db) for snr_db in (10.0, None))
    assert noisy.noise is not None and clean.noise is None
    speech = np.mean([active_rms(step.pcm, 24_000) for step in script.steps])
    below_db = 20 * np.log10(speech / np.sqrt(np.mean(np.square(noisy.noise))))
    assert 9.5 < below_db < 14  # the wire takes away what lies above it
    heard, told = noisy.say(), noisy.channels()[0]
    assert heard is not None and np.abs(heard).max() > 0 and not told.any()
