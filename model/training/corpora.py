"""A list of recorded corpora as its user writes it: `corpora.toml`, in a folder or given as a file.

    [[corpus]]
    name = "orders"
    folder = "barista"          # beside the list, or an absolute path
    layout = "orders"
    licence = "Apache-2.0"
    source = "Picovoice, speech-to-intent benchmark"
    speaker = "file"            # or "one", or a pattern that finds the speaker in a file's name
    text = "^audio__(.+)__"     # layout "words" alone: a pattern that finds the word in a file's name
    files = "kitchen*"          # if only some of the folder's files are meant, of those without transcripts

Layouts: "sentences" (transcripts.tsv beside the files), "orders" (labels.json: slots by file name), "digits"
(`<digit>_<speaker>_<n>`), "speech" (no transcripts), "words" (single words, known only if `text` finds them),
"noise".
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from model.errors import RecordingError
from model.order import Order
from model.training.recording_folder import (
    SOURCES,
    TRANSCRIPTS,
    Layout,
    Recording,
    RecordingFolder,
    read_folder,
    read_transcripts,
    text_of,
)

CORPORA, LABELS = "corpora.toml", "labels.json"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff")
_DIGIT_FILE = re.compile(r"([0-9])_(.+)_([0-9]+)")
_FIELDS = {"name", "folder", "layout", "licence", "source", "speaker", "text", "files"}


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus by name: read when it is to be aligned; a machine that trains on shards needs its name."""

    name: str
    folder: Path
    layout: Layout = "sentences"
    sources: str = ""  # empty: the folder's own SOURCES.md
    speaker: str = "one"
    text: str = ""
    files: str = "*"

    def read(self) -> RecordingFolder:
        """What the folder offers. Raises RecordingError with cause and remedy."""
        if not self.sources:
            return read_folder(self.folder)
        if not self.folder.is_dir():
            raise RecordingError(f"{self.folder} is not a folder: mend `folder` of {self.name} in {CORPORA}")
        recordings, num_unlisted = _LAYOUTS[self.layout](self)
        if not recordings:
            raise RecordingError(
                f"{self.folder} holds no recording of layout {self.layout!r}: mend {CORPORA}"
            )
        by_speaker = self.layout == "digits"
        return RecordingFolder(
            self.name, recordings, self.sources, num_unlisted, self.layout, folds_by_speaker=by_speaker
        )


def find_corpora(places: Sequence[Path]) -> list[Corpus]:
    """The corpora at each place: a folder of recordings, a list, or a folder that holds a list.

    Raises RecordingError if a list is malformed or two corpora have one name.
    """
    found: list[Corpus] = []
    for place in places:
        listed = place if place.suffix == ".toml" else place / CORPORA
        found += _read_list(listed) if listed.is_file() else [Corpus(place.resolve().name, place)]
    names = [corpus.name for corpus in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RecordingError(f"two folders of recordings have the same name {sorted(twice)}: rename one")
    return found


def _read_list(path: Path) -> list[Corpus]:
    try:
        entries = tomllib.loads(text_of(path, "list the corpora in it"))["corpus"]
        return [_corpus(entry, path, number) for number, entry in enumerate(entries, start=1)]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise RecordingError(f"{path} is no list of [[corpus]] entries ({error}): mend it") from None


def _corpus(entry: dict[str, Any], path: Path, number: int) -> Corpus:
    where = f"{path}, corpus {number}"
    if missing := {"name", "folder", "layout", "licence", "source"} - set(entry):
        raise RecordingError(f"{where} lacks {sorted(missing)}: add them")
    if unknown := set(entry) - _FIELDS:
        raise RecordingError(f"{where}: unknown fields {sorted(unknown)}; known are {sorted(_FIELDS)}")
    if entry["layout"] not in get_args(Layout):
        raise RecordingError(f"{where}: layout {entry['layout']!r} is none of {get_args(Layout)}")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", str(entry["name"])):
        raise RecordingError(f"{where}: name {entry['name']!r} may hold letters, digits, - and _ only")
    for pattern in ("speaker", "text"):
        _compiled(str(entry.get(pattern, "one")), f"{where}: {pattern}")
    return Corpus(
        entry["name"],
        (path.parent / entry["folder"]).resolve(),
        entry["layout"],
        f"{entry['source']}. Licence: {entry['licence']}.",
        entry.get("speaker", "file" if entry["layout"] != "sentences" else "one"),
        entry.get("text", ""),
        entry.get("files", "*"),
    )


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RecordingError(f"{where} {pattern!r} is no regular expression ({error}): mend it") from None


def _speaker(corpus: Corpus, path: Path) -> str:
    if corpus.speaker == "one":
        return corpus.name
    if corpus.speaker == "file":
        return path.stem
    return _found(corpus.speaker, path) or path.stem


def _found(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.stem)
    return match[match.lastindex or 0] if match else ""


def _sound_files(corpus: Corpus) -> list[Path]:
    return sorted(path for path in corpus.folder.glob(corpus.files) if path.suffix.lower() in SOUND_ENDINGS)


def _by_speaker(corpus: Corpus, recordings: list[Recording]) -> list[Recording]:
    """With their speakers, who stand together."""
    named = [replace(r, speaker=r.speaker or _speaker(corpus, r.path)) for r in recordings]
    return sorted(named, key=lambda r: r.speaker)  # stable: a speaker's recordings keep their order


def _sentences(corpus: Corpus) -> tuple[list[Recording], int]:
    recordings, num_unlisted = read_transcripts(corpus.folder)
    return _by_speaker(corpus, recordings), num_unlisted


def _orders(corpus: Corpus) -> tuple[list[Recording], int]:
    path = corpus.folder / LABELS
    try:
        labels = json.loads(text_of(path, "write intent and slots by file name"))
        slots = {name: tuple(sorted(label["slots"].items())) for name, label in labels.items()}
        for labelled in slots.values():
            Order.from_labels(dict(labelled))  # refuses what the order line does not have
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(
            f'{path} is not of the form {{file name: {{"slots": {{...}}}}}} ({error!r}): mend it'
        ) from None
    files = _sound_files(corpus)
    recordings = [Recording(path, slots=slots[path.stem]) for path in files if path.stem in slots]
    return _by_speaker(corpus, recordings), len(files) - len(recordings)


def _digits(corpus: Corpus) -> tuple[list[Recording], int]:
    files = _sound_files(corpus)
    named = [(path, match) for path in files if (match := _DIGIT_FILE.fullmatch(path.stem))]
    named.sort(key=lambda pair: int(pair[1][3]))  # so that each stretch holds every digit
    recordings = [Recording(path, DIGITS[int(match[1])], match[2]) for path, match in named]
    return _by_speaker(corpus, recordings), len(files) - len(recordings)


def _unknown(corpus: Corpus) -> tuple[list[Recording], int]:
    return _by_speaker(corpus, [Recording(path) for path in _sound_files(corpus)]), 0


def _words(corpus: Corpus) -> tuple[list[Recording], int]:
    def text(path: Path) -> str:
        return re.sub(r"[-_]", " ", _found(corpus.text, path)) if corpus.text else ""

    return _by_speaker(corpus, [Recording(path, text(path)) for path in _sound_files(corpus)]), 0


_LAYOUTS = {
    "sentences": _sentences,
    "orders": _orders,
    "digits": _digits,
    "speech": _unknown,
    "words": _words,
    "noise": _unknown,
}

__all__ = ["CORPORA", "DIGITS", "LABELS", "SOURCES", "TRANSCRIPTS", "Corpus", "find_corpora"]
