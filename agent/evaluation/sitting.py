"""One sitting of a full run: scenes are held, kept and judged until there are trials enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress

from agent.errors import AgentError
from agent.evaluation.judge import Judge
from agent.evaluation.lines import HeldScene, SceneLine
from agent.evaluation.rows import QUOTAS
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.trials import Json, place_steps, truth_of

Note = Callable[[], None]
MakeScene = Callable[[Family, int], Scene]

console = Console()


@dataclass(slots=True)
class Sitting:
    """One sitting of a run: holds what is missing, judges what is held, until there are trials enough."""

    folder: RunFolder
    make: MakeScene
    trials: int
    note: Note = lambda: None  # called before a scene is kept, by one thread at a time
    _judge: Judge | None = field(default=None, init=False)
    _keeping: threading.Lock = field(default_factory=threading.Lock, init=False)

    def judge(self) -> Judge:
        """The judge, loaded once."""
        self._judge = self._judge or Judge()
        return self._judge

    def results(self, family: Family) -> list[Json]:
        """The trials of every scene of the family that was held."""
        return [self.folder.result(family, number, self.judge) for number in self.folder.held(family)]

    def run(self, family: Family, line: SceneLine) -> list[Json]:
        """Hold scenes of a family until every kind has its trials, or twice the planned scenes were held."""
        quota = QUOTAS[family]
        least, most = quota.least_scenes(self.trials), quota.most_scenes(self.trials)
        wanted = least
        while True:
            self._hold(family, range(wanted), line)
            results = self.results(family)
            if quota.is_met(results, self.trials) or wanted >= most:
                return results
            wanted = min(most, wanted + max(1, least // 5))

    def hold(self, family: Family, num: int, line: SceneLine) -> list[Json]:
        """Hold the family's first scenes, so many, and judge them."""
        self._hold(family, range(num), line)
        return [result for result in self.results(family) if result["number"] < num]

    def _hold(self, family: Family, numbers: range, line: SceneLine) -> None:
        missing = [number for number in numbers if not self.folder.is_held(family, number)]
        if not missing:
            return
        began_s, seconds = time.monotonic(), 0.0
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task(family.value, total=len(missing))

            def keep(held: HeldScene) -> None:
                nonlocal seconds
                with self._keeping:
                    seconds += len(held.caller) / 24_000
                    self.note()
                    keep_scene(self.folder, held)
                    progress.advance(bar)

            line.hold(self._made(family, missing), keep)
        took_s = time.monotonic() - began_s
        console.print(
            f"{family}: {len(missing)} scenes, {seconds / 60:.1f} min of calls in {took_s / 60:.1f} min",
            highlight=False,
        )

    def _made(self, family: Family, numbers: list[int]) -> Iterator[Scene]:
        for number in numbers:
            yield self.make(family, number)


def keep_scene(folder: RunFolder, held: HeldScene) -> None:
    """Write a held scene; one whose caller's sound had holes is void, and left for the next sitting."""
    try:
        steps = place_steps(held.said, held.caller)
    except AgentError as error:
        console.print(f"{held.scene.family.value} {held.scene.number} is void: {error}", highlight=False)
        return
    folder.keep(truth_of(held.scene, steps, held.words), held.caller, held.agent)
