"""The same scripted callers against several engines, in clean and in noisy rooms; what each makes of them.

A call without a telephone: the model's steps are taken to keep their tick, as they do on a machine that
serves; the cascade's recogniser, dialogue and synthesiser are waited for as long as they took.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation.judge import order_in, plain
from agent.evaluation.offline import Answerer, OfflineCall, call_offline
from agent.evaluation.outcome import place_turns
from agent.evaluation.quick import OFFLINE, Plan, judge_all
from agent.evaluation.scores import Spread, spread
from agent.evaluation.script import Manner, Script, Step, make_script, speak_step
from agent.evaluation.summary import Share, Summary, share
from model.order import Order
from model.order_line import NOT_UNDERSTOOD, ONLY_ORDERS
from model.phrasings import Intent
from model.requests import Request, draw_request, phrase_order
from model.voices import HELD_OUT_VOICES, draw_voice

LIMIT_S = 180.0
SIZES, DRINKS = (
    ("small", "medium", "large"),
    ("coffee", "americano", "cappuccino", "espresso", "latte", "mocha"),
)
MILKS = ("milk", "skim milk", "whole milk", "soy milk", "almond milk", "cream")
_AGAIN = frozenset(plain(line.text) for line in (NOT_UNDERSTOOD, ONLY_ORDERS))

Json = dict[str, Any]
Scripts = Callable[[int, int], Script]  # number, seed


@dataclass(frozen=True, slots=True)
class Room:
    """Where the callers are."""

    name: str
    snr_db: float | None = None  # None: no noise


ROOMS = (Room("clean"), Room("20 dB", 20.0), Room("10 dB", 10.0))


def short_steps(rng: random.Random, number: int) -> list[Step]:
    """Nine turns: plain orders of size, drink and milk, and the questions that go with them."""

    def order(*, pause: bool = False, manner: Manner = Manner.REPLY) -> Step:
        wanted = Order(rng.choice(DRINKS), rng.choice(SIZES), rng.choice(MILKS))
        return Step(_unfinished(lambda: phrase_order(wanted, rng, held_out=True), pause), manner, pause)

    def ask(intent: Intent, manner: Manner = Manner.REPLY) -> Step:
        return Step(draw_request(rng, intent, held_out=True), manner)

    places = (Intent.HOURS, Intent.WHERE)
    return [
        order(pause=True),
        ask(Intent.NO),
        order(),
        ask(Intent.YES),  # its long answer is interrupted
        order(pause=True, manner=Manner.CUT_IN),
        ask(rng.choice((Intent.YES, Intent.NO))),
        ask(rng.choice(places)),  # interrupted
        order(manner=Manner.CUT_IN),
        ask(Intent.GOODBYE),
    ]


def _unfinished(draw: Callable[[], Request], is_wanted: bool) -> Request:
    request = draw()
    while is_wanted and not request.incomplete_words():
        request = draw()
    return request


def short_script(number: int, seed: int) -> Script:
    """Call `number` of a seed in a held-out voice and held-out wordings, spoken."""
    rng, draws = random.Random(f"versus/{seed}/{number}"), np.random.default_rng([seed, number, 7])
    voice = draw_voice(draws, HELD_OUT_VOICES)
    rate, pitch, level_dbfs = draws.uniform(0.9, 1.15), draws.uniform(0.9, 1.15), draws.uniform(-30.0, -20.0)
    steps = tuple(
        speak_step(step, voice, rng, rate=rate, pitch=pitch, level_dbfs=level_dbfs)
        for step in short_steps(rng, number)
    )
    return Script(number, voice, steps)


SCRIPTS: dict[str, Scripts] = {"short": short_script, "whole": make_script}


@dataclass(frozen=True, slots=True)
class OrderOutcomes:
    """What became of orders whose answer the script let finish."""

    right: Share
    wrong: Share  # another order was read back: a confident wrong answer
    again: Share  # it asked to hear it again
    else_: Share  # anything else, nothing included


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine in one room; times in seconds."""

    engine: str
    room: str
    summary: Summary
    orders: OrderOutcomes
    gaps_s: tuple[float, ...]
    num_early: int

    @property
    def gaps(self) -> Spread:
        """Of the gaps."""
        return spread(self.gaps_s)

    def as_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def hold(
    name: str, engine: Answerer, digest: str, room: Room, folder: Path, *, calls: int, seed: int, scripts: str
) -> Figures:
    """Hold the calls that the folder does not have yet, judge them, and sum up."""
    place = folder / f"{name}-{room.name}".replace(" ", "-")
    plan = Plan(place, seed, calls, engine.num_slots, OFFLINE, f"{digest}/{scripts}/{room.name}")
    summary, outcomes = held(plan, engine, SCRIPTS[scripts], room.snr_db)
    return figures_of(name, room.name, summary, outcomes)


def held(
    plan: Plan, engine: Answerer, make: Scripts, snr_db: float | None = None
) -> tuple[Summary, list[Json]]:
    """Hold what the plan's folder does not have yet, and judge all: figures, and each call's outcome."""
    plan.prepare()

    def keep(call: OfflineCall) -> None:
        left, right = call.channels()
        plan.keep(call.script, left, right, place_turns(call.caller.said, left))

    if waiting := [make(number, plan.seed) for number in plan.missing()]:
        call_offline(engine, waiting, LIMIT_S, keep, snr_db)
    summary = judge_all(plan)
    results = (plan.result(number) for number in range(plan.calls))
    return summary, [json.loads(path.read_text(encoding="utf-8")) for path in results]


def figures_of(engine: str, room: str, summary: Summary, calls: Sequence[Json]) -> Figures:
    """The figures of judged calls, as `CallOutcome.as_json` wrote them."""
    rows = [row for call in calls for row in call["turns"] if row["intent"] != "silence"]
    orders = [row for row in rows if row["intent"] == "order" and row["is_judged"]]
    return Figures(
        engine,
        room,
        summary,
        order_outcomes(orders),
        tuple(row["gap_s"] for row in rows if row["gap_s"] is not None),
        sum(bool(row["early_starts"]) for row in rows),
    )


def order_outcomes(rows: Iterable[Json]) -> OrderOutcomes:
    """Sort judged orders by what the agent was heard to answer."""
    kinds = [_kind(row) for row in rows]
    right, wrong, again, other = (
        share([{"kind": kind} for kind in kinds], lambda row, name=name: row["kind"] == name)  # type: ignore[misc]
        for name in ("right", "wrong", "again", "else")
    )
    return OrderOutcomes(right, wrong, again, other)


def _kind(row: Json) -> str:
    heard = row["heard"]
    if row["is_right"]:
        return "right"
    if order_in(heard) is not None:
        return "wrong"
    return "again" if heard in _AGAIN else "else"
