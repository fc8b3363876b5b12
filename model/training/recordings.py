"""Real people's recordings, which teach the codec's hearing beside the synthetic callers; optional.

A folder of them becomes shards like the bank's, apart from it in the working folder: the codec stage alone
reads them. What cannot be aligned with its text is left out and counted. Where recordings come from follows
the codec that heard them into the model folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.channel import resample
from model.config import SAMPLE_RATE_HZ
from model.errors import RecordingError
from model.order_line import Intent, Request
from model.training.alignment import Aligner, NotAligned
from model.training.bank import Stem, Turn, load_shard, save_shard
from model.training.feed import GrowingBank, Share, side_by_side
from model.training.recording_folder import SOURCES, TRANSCRIPTS, Recording, RecordingFolder, read_folder
from model.voices_phones import TimedPhone, TimedWord

RECORDED_SHARE = 0.3  # of the callers' clips, however few recordings there are beside the bank
SENTENCES_PER_STEM = 12
RECORDINGS_PER_SHARD = 10 * SENTENCES_PER_STEM
LONGEST_S = 30.0
MARGIN_S = 0.3  # kept before the first word and after the last
_PEAK = 0.5  # as the synthetic callers'
_TITLE = "# Recordings that the codec was trained on\n"


def load_sound(path: Path) -> NDArray[np.float32]:
    """A sound file as float32 [T] at 24 kHz, mono, peak 0.5. Raises NotAligned if it is of no use."""
    import soundfile  # here, because a machine that trains on shards from elsewhere needs none

    try:
        if soundfile.info(path).duration > LONGEST_S:
            raise NotAligned(f"longer than {LONGEST_S:.0f} s")
        pcm, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        raise NotAligned("not a sound file that libsndfile reads") from None
    if not np.isfinite(pcm).all() or not pcm.any():
        raise NotAligned("no sound in it")
    pcm = resample(pcm.mean(axis=1), rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(pcm * (_PEAK / max(float(np.abs(pcm).max(initial=0.0)), 1e-6)), np.float32)


def make_turn(recording: Recording, aligner: Aligner) -> Turn:
    """A recording as a caller's turn, cut to its words and a margin. Raises NotAligned."""
    pcm = load_sound(recording.path)
    words, phones = aligner.align(pcm, recording.text)
    first = max(0, round((words[0].start_s - MARGIN_S) * SAMPLE_RATE_HZ))
    last = min(len(pcm), round((words[-1].end_s + MARGIN_S) * SAMPLE_RATE_HZ))
    at_s, end_s = first / SAMPLE_RATE_HZ, (last - first) / SAMPLE_RATE_HZ
    spans = [(p.phone, max(0.0, p.start_s - at_s), min(end_s, p.end_s - at_s)) for p in phones]
    return Turn(
        Request(Intent.OTHER, recording.text),
        pcm[first:last],
        [TimedWord(w.text, w.start_s - at_s, w.end_s - at_s) for w in words],
        [TimedPhone(*span) for span in spans if span[2] > span[1]],
    )


def _stamp(recordings: list[Recording]) -> list[list[str | int]]:
    """What a shard was made of; another stamp makes it anew."""
    return [[r.path.name, r.path.stat().st_size, r.text] for r in recordings]


def _build_shard(shard: Path, voice: str, recordings: list[Recording]) -> Path:
    """Write a shard, if anything could be aligned, and beside it the account of what was left out and why."""
    aligner = Aligner()
    turns: list[Turn] = []
    left_out: dict[str, str] = {}
    for recording in recordings:
        try:
            turns.append(make_turn(recording, aligner))
        except NotAligned as reason:
            left_out[recording.path.name] = str(reason)
    shard.unlink(missing_ok=True)
    if turns:
        firsts = range(0, len(turns), SENTENCES_PER_STEM)
        save_shard([Stem(voice, turns[first : first + SENTENCES_PER_STEM]) for first in firsts], shard)
    speech_s = sum(len(turn.pcm) for turn in turns) / SAMPLE_RATE_HZ
    account = {"made_of": _stamp(recordings), "speech_s": speech_s, "left_out": left_out}
    partial = shard.with_suffix(".partial")
    partial.write_text(json.dumps(account, indent=1), encoding="utf-8")
    return partial.replace(shard.with_suffix(".json"))


def _is_due(shard: Path, recordings: list[Recording]) -> bool:
    account = shard.with_suffix(".json")
    return not account.exists() or _account(account)["made_of"] != _stamp(recordings)


def _account(path: Path) -> dict[str, Any]:
    account: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return account


def _summary(folder: RecordingFolder, accounts: list[dict[str, Any]], store: Path) -> str:
    """One line: how many recordings were aligned, how long they are, and why the others were left out.

    Raises RecordingError if there is nothing left.
    """
    reasons = Counter(reason for account in accounts for reason in account["left_out"].values())
    aligned = len(folder.recordings) - reasons.total()
    minutes = sum(account["speech_s"] for account in accounts) / 60
    line = f"recordings {folder.name}: {aligned} of {len(folder.recordings)} aligned, {minutes:.1f} min"
    left_out = [f"{count} for {reason}" for reason, count in reasons.most_common()]
    if folder.num_unlisted:
        left_out.append(f"{folder.num_unlisted} for no line in {TRANSCRIPTS}")
    if left_out:
        line += f"; left out (named in {store}): {', '.join(left_out)}"
    if not aligned:
        raise RecordingError(f"{line}: remove the folder or mend it")
    return line


class RecordedCallers:
    """The recordings of some folders: aligned, drawn, and accounted for where their sources must stand."""

    def __init__(self, folders: Sequence[Path], working: Path) -> None:
        self._folders = {folder.resolve().name: folder for folder in folders}
        if len(self._folders) < len(folders):
            raise RecordingError("two folders of recordings have the same name: rename one")
        self._store = working / "recordings"
        self._heard = working / "codec.sources.md"  # beside the checkpoint that it tells about

    def check(self) -> None:
        """Raise RecordingError now rather than after hours if a folder is not as it should be."""
        for folder in self._folders.values():
            read_folder(folder)

    def build(self, num_workers: int, report: Callable[[str], None]) -> None:
        """Align what is not aligned yet; say how much there is, and what was left out and why."""
        for folder in map(read_folder, self._folders.values()):
            report(_summary(folder, self._build(folder, num_workers, report), self._store / folder.name))

    def _build(
        self, folder: RecordingFolder, num_workers: int, report: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """One folder's shards, as the store then holds them; each shard's account."""
        store = self._store / folder.name
        store.mkdir(parents=True, exist_ok=True)
        (store / SOURCES).write_text(folder.sources, encoding="utf-8")
        tasks = [
            (
                store / f"recordings-{folder.name}-{first // RECORDINGS_PER_SHARD:04d}.npz",
                f"recorded/{folder.name}",
                folder.recordings[first : first + RECORDINGS_PER_SHARD],
            )
            for first in range(0, len(folder.recordings), RECORDINGS_PER_SHARD)
        ]
        wanted = [shard.stem for shard, _, _ in tasks]
        for old in [path for path in store.glob("recordings-*") if path.stem not in wanted]:
            old.unlink()
        due = [task for task in tasks if _is_due(task[0], task[2])]
        for account in side_by_side(_build_shard, due, num_workers):
            report(f"recordings: {account.stem}")
        return [_account(shard.with_suffix(".json")) for shard, _, _ in tasks]

    def shards(self) -> list[Path]:
        """What is there to draw from. Raises RecordingError if a folder has not been aligned."""
        found: list[Path] = []
        for name in self._folders:
            paths = sorted((self._store / name).glob(f"recordings-*-{'[0-9]' * 4}.npz"))
            if not paths or not (self._store / name / SOURCES).exists():
                raise RecordingError(f"{name} is not aligned yet: run the stage `recordings` first")
            found += paths
        return found

    def mix(self, stem: Callable[[random.Random], Stem], share: Share) -> Callable[[random.Random], Stem]:
        """Draws of synthetic callers, `RECORDED_SHARE` of them replaced by recorded ones if there are any."""
        if not self._folders:
            return stem
        recorded = GrowingBank(self.shards(), load_shard, share)
        return lambda rng: recorded.draw(rng) if rng.random() < RECORDED_SHARE else stem(rng)

    def note_heard(self, *, anew: bool) -> None:
        """Keep beside the codec's checkpoint where the recordings that it hears come from.

        A codec that is trained `anew` has heard none before. Raises RecordingError as `shards` does.
        """
        self.shards()
        before = "" if anew or not self._heard.exists() else self._heard.read_text(encoding="utf-8")
        parts = [before or _TITLE]
        for name in self._folders:
            part = f"\n## {name}\n\n{(self._store / name / SOURCES).read_text(encoding='utf-8').strip()}\n"
            parts += [part] if part not in before else []
        if before or len(parts) > 1:
            self._heard.write_text("".join(parts), encoding="utf-8")
        else:
            self._heard.unlink(missing_ok=True)

    def export(self, directory: Path) -> None:
        """Put the sources of all that the codec has heard into a model folder; none: no such file there."""
        if self._heard.exists():
            (directory / SOURCES).write_bytes(self._heard.read_bytes())
        else:
            (directory / SOURCES).unlink(missing_ok=True)


def add_recordings_option(parser: argparse.ArgumentParser) -> None:
    """The option of `offhook train` that brings recordings in."""
    parser.add_argument(
        "--recordings",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help=f"real people's recordings that teach the codec to hear: sound files, {TRANSCRIPTS}, {SOURCES}; "
        "may be repeated (default: none)",
    )
