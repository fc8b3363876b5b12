"""A run's folder: what was called is not called again, and is of one run only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from agent.energy_gate import Pcm
from agent.errors import AgentError, AudioFileError
from agent.evaluation.judge import Judge
from agent.evaluation.metrics.intervals import Estimate
from agent.evaluation.placed_call import write_channels
from agent.evaluation.scenes import Family
from agent.evaluation.trials import Json, judge_scene

VERSION = 3  # of what the files of a folder hold


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's scenes by family and number: sound, truth (written last: done), result."""

    root: Path
    mark: Json  # what makes it this run: seed, model, mode, engine

    def prepare(self) -> None:
        """Make the folder, or check that it is of the same run. Raises AudioFileError, AgentError."""
        wanted = {"version": VERSION, **self.mark}
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not self._mark_path.exists():
                self._write_mark({**wanted, "misses": 0})
        except OSError as error:
            raise AudioFileError(f"cannot write to {self.root}: {error}; choose another --folder") from None
        found = self._read_mark()
        if {key: found.get(key) for key in wanted} != wanted:
            raise AgentError(f"{self.root} holds another run ({found}); choose another --folder")

    @property
    def _mark_path(self) -> Path:
        return self.root / "run.json"

    def _read_mark(self) -> Json:
        found: Json = json.loads(self._mark_path.read_text(encoding="utf-8"))
        return found

    def _write_mark(self, mark: Json) -> None:
        _write(self._mark_path, mark)

    @property
    def misses(self) -> int | None:
        """Deadline misses of every sitting so far; None once one of them is not known."""
        known: int | None = self._read_mark()["misses"]
        return known

    def note_misses(self, misses: int | None) -> None:
        """Set what the run's misses are; None: not known, and so it stays."""
        self._write_mark({**self._read_mark(), "misses": misses})

    def path(self, family: Family, number: int, suffix: str) -> Path:
        """One of a scene's files."""
        return self.root / family.value / f"{number:04d}{suffix}"

    def is_held(self, family: Family, number: int) -> bool:
        """Whether the scene was called."""
        return self.path(family, number, ".truth.json").exists()

    def keep(self, truth: Json, caller: Pcm, agent: Pcm) -> None:
        """Write a scene that was held: both channels, float32 [T] each, and its truth."""
        family, number = Family(truth["family"]), truth["number"]
        self.path(family, 0, "").parent.mkdir(parents=True, exist_ok=True)
        write_channels(self.path(family, number, ".flac"), caller, agent)
        _write(self.path(family, number, ".truth.json"), truth)

    def result(self, family: Family, number: int, judge: Callable[[], Judge]) -> Json:
        """The scene's trials, judged once."""
        path = self.path(family, number, ".json")
        if not path.exists():
            truth = json.loads(self.path(family, number, ".truth.json").read_text(encoding="utf-8"))
            sound, _rate_hz = soundfile.read(self.path(family, number, ".flac"), dtype="float32")
            result = judge_scene(truth, np.ascontiguousarray(sound[:, 1]), judge())
            _write(path, result)
        found: Json = json.loads(path.read_text(encoding="utf-8"))
        return found

    def figures(
        self, row: str, trials: int, measure: Callable[[], dict[str, Estimate]]
    ) -> dict[str, Estimate]:
        """A row's figures without calls, measured once, and anew where more trials are asked for."""
        path = self.root / f"{row}.figures.json"
        kept: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"trials": 0}
        if kept["trials"] < trials:
            kept = {"trials": trials, "figures": {key: asdict(value) for key, value in measure().items()}}
            _write(path, kept)
        return {key: Estimate(**value) for key, value in kept["figures"].items()}

    def held(self, family: Family) -> Iterator[int]:
        """Numbers of the family's scenes that were called, rising."""
        for path in sorted((self.root / family.value).glob("*.truth.json")):
            yield int(path.name.split(".")[0])


def _write(path: Path, value: Json) -> None:
    """Whole or not at all: what a broken-off run left half-written could not be read again."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value) + "\n", encoding="utf-8")
    partial.replace(path)
