"""Folders as Full-Duplex-Bench and URO-Bench publish them, with scenes of known truth."""

import json
from pathlib import Path
from typing import Any

import soundfile

from tests.agent.evaluation.scenes import RATE_HZ, channel

Spans = list[tuple[float, float]]


def fdb_item(
    root: Path, folder: str, name: str, user: Spans, model: Spans, mark: tuple[str, Any] | None = None
) -> Path:
    """One item of 8 s; `mark` is the name and content of what its task marks."""
    item = root / folder / name
    item.mkdir(parents=True)
    for file, spans in (("input.wav", user), ("output.wav", model)):
        soundfile.write(item / file, channel(spans, 8.0), RATE_HZ)
    if mark:
        (item / mark[0]).write_text(json.dumps(mark[1]))
    return item


def span(start_s: float, end_s: float) -> list[dict[str, Any]]:
    """A mark of v1."""
    return [{"text": "[MARK]", "timestamp": [start_s, end_s]}]


def uro_set(root: Path, name: str, texts: list[tuple[str, str, str]]) -> None:
    """One set of (asked, written, heard)."""
    folder = root / name
    folder.mkdir(parents=True)
    for column, file in enumerate(("gt_text", "pred_text", "asr_text")):
        lines = [json.dumps({f"{index:04d}": row[column]}) for index, row in enumerate(texts)]
        (folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
