"""Real people's recordings, which teach the codec's hearing beside the synthetic callers; optional.

Corpora of them become shards like the bank's, apart from it in the working folder. What cannot be aligned
with its text is left out and counted. Where recordings come from follows the codec that heard them into the
model folder. A shard's account beside it names each clip with its speaker and fold.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from model.config import SAMPLE_RATE_HZ
from model.errors import RecordingError
from model.training.alignment import NotAligned
from model.training.bank import SHARD_VERSION, STEMS_PER_SHARD, Stem, Turn, save_shard
from model.training.corpora import CORPORA, Corpus, find_corpora
from model.training.feed import Share, side_by_side
from model.training.folds import NUM_FOLDS, Selection, fold_of, speaker_folds
from model.training.recorded_stems import RecordedBank
from model.training.recording_folder import SOURCES, TRANSCRIPTS, Layout, Recording, RecordingFolder
from model.training.recording_turns import TurnMaker

RECORDED_SHARE = (
    0.3  # of the codec's clips and of the calls, however few recordings there are beside the bank
)
RECORDED_COPIES = 16  # of each real caller among those that the language model hears
SENTENCES_PER_STEM = 12
RECORDINGS_PER_SHARD = 10 * SENTENCES_PER_STEM
SHARD_S = 900.0  # of sound, 43 MB, in a shard at the most
_TITLE = "# Recordings that the codec was trained on\n"


def _stamp(recordings: list[Recording]) -> list[list[Any]]:
    """What a shard was made of; another stamp makes it anew."""
    return [
        [r.path.name, r.path.stat().st_size, r.text, r.speaker, [list(slot) for slot in r.slots]]
        for r in recordings
    ]


def _build_shard(
    shard: Path, folder: str, layout: Layout, recordings: list[Recording], folds: dict[str, int]
) -> Path:
    """Write a shard, if anything could be aligned, and beside it the account of what was left out and why.

    `folds` gives the folds of speakers where a fold is whole speakers.
    """
    began_s = time.process_time()
    maker = TurnMaker()
    turns: list[tuple[str, Turn]] = []  # with their speakers
    left_out: dict[str, str] = {}
    clips: dict[str, list[str | int | bool]] = {}
    for recording in recordings:
        clip = f"{folder}/{recording.path.stem}"
        try:
            made = maker.make(recording, layout)
        except NotAligned as reason:
            left_out[recording.path.name] = str(reason)
            continue
        turns += [(recording.speaker or folder, _named(turn, clip)) for turn in made]
        fold = folds.get(recording.speaker, fold_of(clip))
        clips[clip] = [recording.speaker or folder, fold, any(turn.words for turn in made)]
    shard.unlink(missing_ok=True)
    if turns:
        save_shard(_stems(folder, turns), shard)
    account = {
        "made_of": _stamp(recordings),
        "version": SHARD_VERSION,
        "layout": layout,
        "speech_s": sum(len(turn.pcm) for _, turn in turns) / SAMPLE_RATE_HZ,
        "cpu_s": time.process_time() - began_s,
        "clips": clips,
        "left_out": left_out,
    }
    partial = shard.with_suffix(".partial")
    partial.write_text(json.dumps(account, indent=1), encoding="utf-8")
    return partial.replace(shard.with_suffix(".json"))


def _named(turn: Turn, clip: str) -> Turn:
    return replace(turn, clip=clip)


def _stems(folder: str, turns: list[tuple[str, Turn]]) -> list[Stem]:
    """One speaker's turns to a stem, and so many that calls of it are not all the same."""
    stems: list[Stem] = []
    for speaker, own in groupby(turns, key=lambda pair: pair[0]):
        said = [turn for _, turn in own]
        voice = f"recorded/{folder}" if speaker == folder else f"recorded/{folder}/{speaker}"
        firsts = range(0, len(said), SENTENCES_PER_STEM)
        stems += [Stem(voice, said[first : first + SENTENCES_PER_STEM]) for first in firsts]
    return stems


def _in_shards(recordings: Iterable[Recording]) -> list[list[Recording]]:
    """Recordings in order, cut where a shard would be too long."""
    import soundfile

    def duration_s(path: Path) -> float:
        try:
            return float(soundfile.info(path).duration)
        except soundfile.SoundFileError:
            return 0.0

    shards: list[list[Recording]] = []
    total_s = 0.0
    for recording in recordings:
        length_s = duration_s(recording.path)
        if not shards or len(shards[-1]) == RECORDINGS_PER_SHARD or total_s + length_s > SHARD_S:
            shards.append([])
            total_s = 0.0
        shards[-1].append(recording)
        total_s += length_s
    return shards


def _is_due(shard: Path, recordings: list[Recording]) -> bool:
    account = shard.with_suffix(".json")
    if not account.exists():
        return True
    made = _account(account)
    return made.get("version") != SHARD_VERSION or made["made_of"] != _stamp(recordings)


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
    cpu_s = sum(account["cpu_s"] for account in accounts)
    line = f"recordings {folder.name}: {aligned} of {len(folder.recordings)} aligned, {minutes:.1f} min"
    line += f" ({cpu_s:.0f} s of CPU)"
    left_out = [f"{count} for {reason}" for reason, count in reasons.most_common()]
    if folder.num_unlisted:
        left_out.append(f"{folder.num_unlisted} for no line in {TRANSCRIPTS}")
    if left_out:
        line += f"; left out (named in {store}): {', '.join(left_out)}"
    if not aligned:
        raise RecordingError(f"{line}: remove the folder or mend it")
    return line


class RecordedCallers:
    """The recordings of some corpora: aligned, drawn, and accounted for where their sources must stand."""

    def __init__(
        self,
        places: Sequence[Path],
        working: Path,
        selection: Selection | None = None,
        share: float = RECORDED_SHARE,
    ) -> None:
        self._corpora = find_corpora(places)
        self.share = share
        self.store = working / "recordings"
        self.selection = selection or Selection()
        self._heard = working / "codec.sources.md"  # beside the checkpoint that it tells about

    def check(self) -> None:
        """Raise RecordingError now rather than after hours if a corpus is not as it should be."""
        for corpus in self._corpora:
            corpus.read()

    def build(self, num_workers: int, report: Callable[[str], None]) -> None:
        """Align what is not aligned yet; say how much there is, and what was left out and why."""
        for folder in map(Corpus.read, self._corpora):
            report(_summary(folder, self._build(folder, num_workers, report), self.store / folder.name))

    def _build(
        self, folder: RecordingFolder, num_workers: int, report: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """One corpus's shards, as the store then holds them; each shard's account."""
        store = self.store / folder.name
        store.mkdir(parents=True, exist_ok=True)
        (store / SOURCES).write_text(folder.sources, encoding="utf-8")
        folds = speaker_folds([r.speaker for r in folder.recordings]) if folder.folds_by_speaker else {}
        tasks = [
            (store / f"recordings-{folder.name}-{number:04d}.npz", folder.name, folder.layout, some, folds)
            for number, some in enumerate(_in_shards(folder.recordings))
        ]
        wanted = [task[0].stem for task in tasks]
        for old in [path for path in store.glob("recordings-*") if path.stem not in wanted]:
            old.unlink()
        due = [task for task in tasks if _is_due(task[0], task[3])]
        for account in side_by_side(_build_shard, due, num_workers):
            report(f"recordings: {account.stem}")
        return [_account(task[0].with_suffix(".json")) for task in tasks]

    def banks(self) -> list[RecordedBank]:
        """What is there to draw from. Raises RecordingError if a corpus has not been aligned."""
        return [RecordedBank(self.store / corpus.name, self.selection) for corpus in self._corpora]

    @property
    def stores(self) -> tuple[Path, ...]:
        """Where the aligned corpora lie."""
        return tuple(self.store / corpus.name for corpus in self._corpora)

    def write_bank(self, folder: Path, numbers: Sequence[str]) -> list[Path]:
        """The recorded people who order or say numbers as bank shards in a folder; those there already stay.

        Each comes several times, to be heard at many speeds and over many lines. None: the list is empty.
        """
        paths: list[Path] = []
        for bank in self.banks():
            for copy in range(RECORDED_COPIES):
                stems = bank.caller_stems(numbers, copy)
                for number, first in enumerate(range(0, len(stems), STEMS_PER_SHARD)):
                    paths.append(folder / f"bank-{bank.name}-{copy}-{number:04d}.npz")
                    if not paths[-1].exists():
                        folder.mkdir(parents=True, exist_ok=True)
                        save_shard(stems[first : first + STEMS_PER_SHARD], paths[-1])
        return paths

    def mix(self, stem: Callable[[random.Random], Stem], share: Share) -> Callable[[random.Random], Stem]:
        """Draws of synthetic callers, a share of them replaced by recorded ones if there are any."""
        banks = [bank for bank in self.banks() if bank.teaches_hearing]
        if not banks:
            return stem
        draws = [bank.warping(share) for bank in banks]
        weights = [bank.weight for bank in banks]

        def drawn(rng: random.Random) -> Stem:
            return rng.choices(draws, weights)[0](rng) if rng.random() < self.share else stem(rng)

        return drawn

    def note_heard(self, *, anew: bool) -> None:
        """Keep beside the codec's checkpoint where the recordings that it hears come from.

        A codec that is trained `anew` has heard none before. Raises RecordingError as `banks` does.
        """
        before = "" if anew or not self._heard.exists() else self._heard.read_text(encoding="utf-8")
        parts = [before or _TITLE]
        for bank in self.banks():
            part = f"\n## {bank.name}\n\n{bank.sources}\n"
            part += f"\nClips: {len(bank.clips)} of {bank.num_clips} ({self.selection.describe()}).\n"
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
    """The options of `offhook train` that bring recordings in."""
    parser.add_argument(
        "--recordings",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help=f"real people's recordings that teach the model to hear: a folder of sound files, "
        f"{TRANSCRIPTS}, {SOURCES}; or a list of corpora ({CORPORA}); may be repeated (default: none)",
    )
    parser.add_argument(
        "--fold",
        type=int,
        choices=range(NUM_FOLDS),
        help="recordings of this fold are never trained on (default: train on all)",
    )
    parser.add_argument(
        "--max-recordings",
        type=int,
        metavar="N",
        help="of each corpus the first N of a fixed shuffle (default: all)",
    )
    parser.add_argument(
        "--recorded-share",
        type=float,
        default=RECORDED_SHARE,
        metavar="SHARE",
        help=f"of the callers in training who are recorded people (default {RECORDED_SHARE})",
    )


def recorded_callers(options: argparse.Namespace) -> RecordedCallers:
    """The recordings as the options name them."""
    selection = Selection(options.fold, options.max_recordings)
    return RecordedCallers(options.recordings, options.folder, selection, options.recorded_share)
