"""Reads other people's benchmarks from the folders in which they publish them; nothing is fetched.

Full-Duplex-Bench: any folder above items that hold `input.wav` (the user), `output.wav` (the model, sample
for sample in time with it; of two channels the right one, as `offhook talk` writes) and what the task
marks: `pause.json`, `turn_taking.json`, `interrupt.json` (v1), `metadata.json` (v1.5); `output.json` where
a recogniser has run. URO-Bench: the folders that its inference scripts write, with `gt_text.jsonl`,
`pred_text.jsonl` and `asr_text.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from agent.energy_gate import Segment
from agent.errors import AgentError
from agent.evaluation.metrics.fdb import DESIRED
from agent.evaluation.metrics.fdb_official import Word
from agent.evaluation.placed_call import read_audio
from agent.evaluation.segments import SAMPLE_RATE_HZ, speech_segments

PEOPLE = "icc_gt_distribution.json"  # human backchannel timing, beside the published scripts


class FdbTask(Enum):
    """What an item asks, by the file that marks it."""

    PAUSE = "pause.json"
    TURN = "turn_taking.json"
    INTERRUPTION = "interrupt.json"
    OVERLAP = "metadata.json"  # v1.5, all four
    BACKCHANNEL = ""  # marked by its folder's name alone


@dataclass(frozen=True, slots=True)
class FdbItem:
    """One item: who spoke when, and what is marked; `words` is None where no recogniser has run."""

    task: FdbTask
    folder: str  # "candor_pause_handling": the name of the task's folder
    name: str
    user: Sequence[Segment]
    model: Sequence[Segment]
    duration_s: float
    mark: Segment | None
    words: Sequence[Word] | None
    people: Sequence[float] | None = None


def read_fdb(root: Path) -> list[FdbItem]:
    """Every item under `root`; raises AgentError if there is none, or one is not whole."""
    people = _people(root)
    items = [_fdb_item(path.parent, people) for path in sorted(root.rglob("input.wav"))]
    if not items:
        raise AgentError(f"{root} holds no input.wav: give a folder of Full-Duplex-Bench items")
    return items


def _people(root: Path) -> dict[str, list[float]]:
    path = next(iter(sorted(root.rglob(PEOPLE))), None)
    return dict(_json(path)) if path else {}


def _fdb_item(folder: Path, people: dict[str, list[float]]) -> FdbItem:
    task = _task(folder)
    if not (folder / "output.wav").exists():
        raise AgentError(f"{folder} has no output.wav: run `offhook talk input.wav output.wav` in it first")
    user = read_audio(folder / "input.wav")
    model = read_audio(folder / "output.wav", channel=1)[: len(user)]  # what follows, the user did not hear
    return FdbItem(
        task=task,
        folder=folder.parent.name,
        name=folder.name,
        user=speech_segments(user),
        model=speech_segments(model),
        duration_s=len(model) / SAMPLE_RATE_HZ,
        mark=_mark(folder / task.value) if task.value else None,
        words=_words(folder / "output.json"),
        people=people.get(folder.name),
    )


def _task(folder: Path) -> FdbTask:
    for task in FdbTask:
        if not task.value or not (folder / task.value).exists():
            continue
        if task is FdbTask.OVERLAP and folder.parent.name not in DESIRED:
            raise AgentError(f"{folder} lies in no task of v1.5: name the folder {', '.join(DESIRED)}")
        return task
    if folder.parent.name.endswith("backchannel"):
        return FdbTask.BACKCHANNEL
    marks = ", ".join(task.value for task in FdbTask if task.value)
    raise AgentError(f"{folder} is no item of Full-Duplex-Bench: it has none of {marks}")


def _mark(path: Path) -> Segment:
    """The marked span of an item; the files differ in one letter, and in being a list."""
    found = _json(path)
    try:
        row = found[0] if isinstance(found, list) else found
        start_s, end_s = row.get("timestamp") or row["timestamps"]
        return Segment(float(start_s), float(end_s))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"{path} marks no span of two times: fetch the item again") from error


def _words(path: Path) -> list[Word] | None:
    if not path.exists():
        return None
    try:
        rows = [(row["timestamp"], row["text"]) for row in _json(path)["chunks"]]
        return [Word(float(start), None if end is None else float(end), text) for (start, end), text in rows]
    except (LookupError, TypeError, ValueError) as error:
        raise AgentError(f"{path} holds no timed words: run the benchmark's recogniser again") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AgentError(f"cannot read {path} as JSON ({error}): fetch it again") from error


@dataclass(frozen=True, slots=True)
class UroSet:
    """One set's texts, by item: what was asked, what the model wrote, what a recogniser heard it say."""

    name: str
    asked: Sequence[str]
    written: Sequence[str]
    heard: Sequence[str]

    @property
    def is_repeat(self) -> bool:
        """The set that needs no judge."""
        return "repeat" in self.name.lower()


def read_uro(root: Path) -> list[UroSet]:
    """Every set under `root` that has been run and recognised; raises AgentError if there is none."""
    sets = []
    for path in sorted(root.rglob("asr_text.jsonl")):
        folder = path.parent
        texts = [_numbered(folder / name) for name in ("gt_text.jsonl", "pred_text.jsonl", path.name)]
        if len({len(column) for column in texts}) != 1:
            counts = ", ".join(str(len(column)) for column in texts)
            raise AgentError(f"{folder} holds {counts} texts asked, written and heard: run it again")
        sets.append(UroSet(folder.name, *texts))
    if not sets:
        raise AgentError(f"{root} holds no asr_text.jsonl: run URO-Bench's inference and recogniser first")
    return sets


def _numbered(path: Path) -> list[str]:
    """The texts of a file with one {"0000": text} a line, in order."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [str(row[f"{index:04d}"]) for index, row in enumerate(rows)]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AgentError(f"{path} is no numbered list of texts ({error}): run the benchmark again") from error
