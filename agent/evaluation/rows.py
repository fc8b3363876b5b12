"""Which scenes a row needs, how many, and when there are enough trials of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.evaluation.scenes import ECHO_DB, Family
from agent.evaluation.stimuli import OVER_SOUNDS
from agent.evaluation.trials import Json

MOST_PER_PLAN = 2.0  # scenes at most, against those that would do were every trial eligible
LATE_TURNS = (8, 9, 10)
EARLY_TURNS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Quota:
    """Of a family: what counts as an eligible trial of which kind, and how many a scene holds at best."""

    kinds: Callable[[Json], Iterable[str]]
    per_scene: dict[str, float]

    def least_scenes(self, trials: int) -> int:
        """Scenes that give `trials` of each kind if every one is eligible."""
        return max(-(-trials // max(count, 1e-9)) for count in self.per_scene.values()).__trunc__()

    def most_scenes(self, trials: int) -> int:
        """Where a run gives up on more eligible trials."""
        return round(MOST_PER_PLAN * self.least_scenes(trials))

    def is_met(self, results: Sequence[Json], trials: int) -> bool:
        """Whether every kind has its trials."""
        counts = Counter(kind for result in results for kind in self.kinds(result))
        return all(counts[kind] >= trials for kind in self.per_scene)


def _dialogue(result: Json) -> Iterable[str]:
    yield from ("incomplete" for pause in result["pauses"] if pause["is_in_rate"])
    for number, turn in enumerate(result["turns"], start=1):
        if turn["is_judged"]:
            yield "late" if number in LATE_TURNS else "early" if number in EARLY_TURNS else "turn"


def _floor(result: Json) -> Iterable[str]:
    yield from (row["sound"] for row in result["sounds"] if row["is_eligible"])
    yield from ("turn" for row in result["interruptions"] if row["is_eligible"])


def _echo(result: Json) -> Iterable[str]:
    yield from (str(result["condition"]["echo_db"]) for row in result["lines"] if row["is_eligible"])


def _orders(result: Json) -> Iterable[str]:
    yield "clean" if result["condition"]["snr_db"] == "clean" else "noisy"


def _turns(result: Json) -> Iterable[str]:
    yield from ("turn" for turn in result["turns"] if turn["is_judged"])


QUOTAS: dict[Family, Quota] = {
    Family.DIALOGUE: Quota(_dialogue, {"incomplete": 3, "late": 3, "early": 3}),
    Family.FLOOR: Quota(
        _floor, {"turn": 3, "backchannel": 2, "cough": 2, **dict.fromkeys(OVER_SOUNDS[2:], 1)}
    ),
    Family.ECHO: Quota(_echo, dict.fromkeys(map(str, ECHO_DB), 9 / len(ECHO_DB))),
    Family.ORDERS: Quota(_orders, {"clean": 0.5, "noisy": 0.5}),
    Family.NUMBERS: Quota(_turns, {"turn": 1}),
    Family.TONE: Quota(_turns, {"turn": 1}),
    Family.REAL_ORDERS: Quota(_orders, {"clean": 0.5, "noisy": 0.5}),
    Family.REAL_NUMBERS: Quota(_turns, {"turn": 1}),
}
