"""`offhook recordings`: open sealed ones, list all, delete the old ones."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import soundfile

from agent.errors import AudioFileError, ConfigError
from agent.recording_files import read_sidecar, sidecar_path
from agent.recording_index import RecordingIndex, Wanted
from agent.retention import DAY_S, overdue, purge
from agent.sealed import Keyring, read_key_file, read_keys
from agent.sealed_audio import SUFFIX, SealedAudio
from agent.settings import RecordingSettings, Settings
from telephony.endpoint import SAMPLE_RATE_HZ


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What each of the three takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="every recording in the folder, the newest first")
    opened = actions.add_parser("open", help="write a sealed recording's sound, and its words, in the clear")
    opened.add_argument("file", type=Path, help="the .sealed file")
    opened.add_argument(
        "to", type=Path, help="a .flac or .wav file to write; - plays: WAV on standard output"
    )
    purging = actions.add_parser(
        "purge", help="delete recordings that are older than OFFHOOK_RECORDING__KEEP_DAYS"
    )
    purging.add_argument("--days", type=float, help="in place of the setting")
    purging.add_argument("--dry-run", action="store_true", help="only say which")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do it; the exit code. Raises ConfigError, SealError, AudioFileError."""
    recording = settings.recording
    if args.action == "open":
        return open_sealed(args.file, args.to, keyring(recording))
    if recording.folder is None:
        raise ConfigError("no folder is set; set OFFHOOK_RECORDING__FOLDER")
    if args.action == "list":
        return _list(RecordingIndex(recording.folder, keyring(recording)))
    return _purge(recording.folder, args.days if args.days is not None else recording.keep_days, args.dry_run)


def keyring(settings: RecordingSettings) -> Keyring | None:
    """The keys that are set; None: recordings are not sealed. Raises ConfigError."""
    if settings.key is not None:
        return read_keys(settings.key.get_secret_value(), "OFFHOOK_RECORDING__KEY")
    return read_key_file(settings.key_file) if settings.key_file is not None else None


def open_sealed(path: Path, to: Path, keys: Keyring | None) -> int:
    """Write the sound to `to`, and what lies beside it to the JSON file of that name; 1 if it was cut short.

    Raises ConfigError without keys or for an existing file, SealError, AudioFileError.
    """
    if keys is None:
        raise ConfigError("no key is set; set OFFHOOK_RECORDING__KEY or __KEY_FILE")
    with SealedAudio(path, keys) as audio:
        if str(to) == "-":
            for part in audio.wav(0, audio.num_wav_bytes):
                sys.stdout.buffer.write(part)
        else:
            _write(audio, to)
            sidecar = read_sidecar(sidecar_path(path), keys)
            if sidecar is not None:
                text = json.dumps({**sidecar, "audio": to.name}, ensure_ascii=False, indent=1)
                to.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        if not audio.is_complete:
            print(f"{path.name} was cut short: {audio.num_samples / SAMPLE_RATE_HZ:.0f} s", file=sys.stderr)
        return 0 if audio.is_complete else 1


def _write(audio: SealedAudio, to: Path) -> None:
    if to.suffix not in (".flac", ".wav") or to.exists():
        raise ConfigError(f"{to} must be a new file that ends in .flac or .wav")
    try:
        with soundfile.SoundFile(str(to), "x", SAMPLE_RATE_HZ, 2, "PCM_16") as file:
            for cell in audio.cells():
                file.write(cell)
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"{to} cannot be written: {type(error).__name__}") from None


def _list(index: RecordingIndex) -> int:
    cursor: str | None = ""
    while cursor is not None:
        entries, cursor = index.page(Wanted(), cursor)
        for entry in entries:
            at = datetime.fromtimestamp(entry.started_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            sealed = "sealed" if entry.audio_name.endswith(SUFFIX) else "open"
            print(f"{entry.audio_name}  {at}  {entry.seconds:7.1f} s  {entry.outcome or '-'}  {sealed}")
    return 0


def _purge(folder: Path, days: float | None, dry_run: bool) -> int:
    if days is None or not days > 0:
        raise ConfigError(
            "nothing says how long recordings are kept; set OFFHOOK_RECORDING__KEEP_DAYS or --days"
        )
    if dry_run:
        for stem in overdue(folder, days * DAY_S, time.time()):
            print(stem)
        return 0
    print(f"deleted {purge(folder, days * DAY_S, time.time())} recordings")
    return 0
