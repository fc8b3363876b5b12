"""The recordings of one folder, found by time, caller, outcome and length. Blocking: call it from a thread.

The sidecars are the index; what was read of one is kept until its file changes. An id from outside becomes
a path only if it is written as we write names: digits and letters, no dots and no slashes.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.recording_files import (
    AUDIO_SUFFIXES,
    NAME,
    SEALED_SIDECAR,
    SIDECAR,
    read_sidecar,
    sidecar_path,
)
from agent.sealed import Keyring

PAGE = 50

Stamp = tuple[int, int]  # of a file: when it was changed, in ns, and its size


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording as lists show it."""

    recording_id: str
    audio_name: str
    started_at_ms: int
    seconds: float
    outcome: str | None  # an EndReason; None: not over, or cut off
    transport: str
    caller_hash: str | None
    has_consent: bool
    num_turns: int
    gap_median_s: float | None
    num_words: int

    def as_json(self) -> dict[str, Any]:
        """For the API."""
        return {
            "id": self.recording_id,
            "started_at_ms": self.started_at_ms,
            "seconds": self.seconds,
            "outcome": self.outcome,
            "transport": self.transport,
            "caller_hash": self.caller_hash,
            "consent": self.has_consent,
            "turns": self.num_turns,
            "gap_median_s": self.gap_median_s,
            "words": self.num_words,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; None: anything."""

    from_ms: int | None = None
    to_ms: int | None = None  # exclusive
    outcome: str | None = None
    caller_hash: str | None = None
    min_s: float | None = None
    transport: str | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether a recording is one of those."""
        return all(
            (
                self.from_ms is None or entry.started_at_ms >= self.from_ms,
                self.to_ms is None or entry.started_at_ms < self.to_ms,
                self.outcome is None or (entry.outcome or "unfinished") == self.outcome,
                self.caller_hash is None or entry.caller_hash == self.caller_hash,
                self.min_s is None or entry.seconds >= self.min_s,
                self.transport is None or entry.transport == self.transport,
            )
        )


class RecordingIndex:
    """One folder's recordings, the newest first."""

    def __init__(self, folder: Path, keys: Keyring | None = None) -> None:
        """`keys` open the sealed ones; what they do not open is in no list."""
        self.folder, self.keys = folder, keys
        # By sidecar's name: (stamp, entry); None for a file that is no sidecar of ours, or not yet.
        self._kept: dict[str, tuple[Stamp, Entry | None]] = {}
        self._lock = threading.Lock()  # two requests may ask at once

    def page(self, wanted: Wanted, cursor: str = "", size: int = PAGE) -> tuple[list[Entry], str | None]:
        """The next entries after `cursor`, and the cursor after them; None: there are no more."""
        found: list[Entry] = []
        for entry in self._entries():
            if (not cursor or entry.recording_id < cursor) and wanted.matches(entry):
                if len(found) == size:
                    return found, found[-1].recording_id
                found.append(entry)
        return found, None

    def find(self, recording_id: str) -> Entry | None:
        """One recording, or None."""
        if not NAME.fullmatch(recording_id):
            return None
        for suffix in (SIDECAR, SEALED_SIDECAR):
            name = f"{recording_id}{suffix}"
            try:
                found = os.lstat(self.folder / name)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                with self._lock:
                    return self._entry_of(name, _stamp(found))
        return None

    def sidecar(self, entry: Entry) -> dict[str, Any] | None:
        """All that lies next to the audio; None if it has gone."""
        return read_sidecar(sidecar_path(self.folder / entry.audio_name), self.keys)

    def audio_path(self, entry: Entry) -> Path | None:
        """The audio file; None if it has gone."""
        path = self.folder / entry.audio_name
        return path if path.is_file() and not path.is_symlink() else None

    def _entries(self) -> list[Entry]:
        with self._lock:
            self._refresh()
            entries = [entry for _, entry in self._kept.values() if entry is not None]
        return sorted(entries, key=lambda entry: entry.recording_id, reverse=True)

    def _refresh(self) -> None:
        seen = dict(_sidecars(self.folder))
        for name in [name for name in self._kept if name not in seen]:
            del self._kept[name]
        for name, stamp in seen.items():
            self._entry_of(name, stamp)

    def _entry_of(self, name: str, stamp: Stamp) -> Entry | None:
        """What a sidecar of this stamp holds, read if it is not known. Under the lock."""
        kept = self._kept.get(name)
        if kept is None or kept[0] != stamp:
            kept = self._kept[name] = (stamp, _entry(self.folder, name, self.keys))
        return kept[1]


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size


def _sidecars(folder: Path) -> Iterator[tuple[str, Stamp]]:
    """Names of sidecars with what tells a change."""
    try:
        listed = os.scandir(folder)
    except OSError:
        return  # no call has been recorded yet
    with listed:
        for item in listed:
            stem, dot, suffix = item.name.partition(".")
            if (
                dot + suffix in (SIDECAR, SEALED_SIDECAR)
                and NAME.fullmatch(stem)
                and item.is_file(follow_symlinks=False)
            ):
                yield item.name, _stamp(item.stat(follow_symlinks=False))


def _entry(folder: Path, name: str, keys: Keyring | None) -> Entry | None:
    """What lists show of a sidecar; None for one that we did not write."""
    stem = name.partition(".")[0]
    sidecar = read_sidecar(folder / name, keys)
    if sidecar is None or sidecar.get("audio") not in [stem + suffix for suffix in AUDIO_SUFFIXES]:
        return None
    turns = sidecar.get("turns")
    gaps = turns.get("response_gaps_s", []) if isinstance(turns, dict) else []
    try:
        return Entry(
            stem,
            str(sidecar["audio"]),
            int(sidecar.get("started_at_ms") or _stamp_ms(stem)),
            float(sidecar.get("seconds") or 0.0),
            sidecar.get("end_reason"),
            str(sidecar.get("transport") or "sip"),
            sidecar.get("caller_hash"),
            bool(sidecar.get("consent")),
            len(gaps),
            sorted(gaps)[(len(gaps) - 1) // 2] if gaps else None,
            len(sidecar.get("words") or ()),
        )
    except (TypeError, ValueError, OverflowError):
        return None


def _stamp_ms(stem: str) -> int:
    stamp = datetime.strptime(stem.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return int(stamp.timestamp() * 1000)
