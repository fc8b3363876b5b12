"""A folder of recordings as its owner lays it out: sound files, `transcripts.tsv`, `SOURCES.md`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import RecordingError

Layout = Literal["sentences", "orders", "digits", "speech", "words", "noise"]
TRANSCRIPTS = "transcripts.tsv"
SOURCES = "SOURCES.md"


@dataclass(frozen=True)
class Recording:
    """A sound file and what is known of it: its text, or an order's slots, and who speaks."""

    path: Path
    text: str = ""
    speaker: str = ""
    slots: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RecordingFolder:
    """What a folder of recordings offers; those of one speaker, or of none named, are taken for one voice."""

    name: str
    recordings: list[Recording]
    sources: str
    num_unlisted: int  # files that no line names
    layout: Layout = "sentences"
    folds_by_speaker: bool = False


def read_folder(folder: Path) -> RecordingFolder:
    """A folder's recordings and their sources.

    Raises RecordingError, which names file, line and remedy, if something is missing or malformed.
    """
    if not folder.is_dir():
        raise RecordingError(f"{folder} is not a folder: give one with sound files, {TRANSCRIPTS}, {SOURCES}")
    sources = text_of(folder / SOURCES, "say in it where the recordings come from and under which licence")
    recordings, num_unlisted = read_transcripts(folder)
    return RecordingFolder(folder.resolve().name, recordings, sources, num_unlisted)


def read_transcripts(folder: Path) -> tuple[list[Recording], int]:
    """The recordings that the folder's transcripts name, and how many of its files they do not name.

    Raises RecordingError, which names file, line and remedy, if something is missing or malformed.
    """
    rows = text_of(folder / TRANSCRIPTS, "write one line for each recording: file name, tab, text")
    files = _by_name(folder)
    recordings: dict[Path, Recording] = {}
    for number, row in enumerate(rows.splitlines(), start=1):
        if not row.strip():
            continue
        where = f"{folder / TRANSCRIPTS} line {number}"
        name, tab, text = row.partition("\t")
        if not (tab and name.strip() and text.strip()):
            raise RecordingError(f"{where} is not of the form `file name<TAB>text`: {row[:60]!r}")
        path = _one_file(files.get(name.strip(), []), name.strip(), where)
        if path in recordings:
            raise RecordingError(f"{where} names {path.name} a second time: remove one of the lines")
        recordings[path] = Recording(path, text.strip())
    unlisted = {path for paths in files.values() for path in paths} - set(recordings)
    return list(recordings.values()), len(unlisted)


def text_of(path: Path, remedy: str) -> str:
    """A file's text; raises RecordingError with the remedy if there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecordingError(f"{path} is missing: {remedy}") from None
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path} is not UTF-8 at byte {error.start}: convert it") from None
    if not text.strip():
        raise RecordingError(f"{path} is empty: {remedy}")
    return text


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """The folder's files under their names with and without ending."""
    files: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.name not in (TRANSCRIPTS, SOURCES) and not path.name.startswith("."):
            for name in {path.name, path.stem}:
                files.setdefault(name, []).append(path)
    return files


def _one_file(paths: list[Path], name: str, where: str) -> Path:
    exact = [path for path in paths if path.name == name] or paths
    if not exact:
        raise RecordingError(f"{where}: there is no {name!r} beside it: add the file or remove the line")
    if len(exact) > 1:
        names = ", ".join(path.name for path in exact)
        raise RecordingError(f"{where}: {name!r} may be {names}: write the name with its ending")
    return exact[0]
