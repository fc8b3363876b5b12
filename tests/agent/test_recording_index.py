"""Search over sidecars on a real disk."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent import recording_index as module
from agent.recording_index import RecordingIndex, Wanted

DAY_MS = 86_400_000


def write(folder: Path, stem: str, **changes: Any) -> None:
    """A recording's two files; the audio need not sound."""
    sidecar: dict[str, Any] = {
        "audio": f"{stem}.flac",
        "started_at_ms": 1_767_323_045_000,
        "seconds": 12.5,
        "end_reason": "caller_hung_up",
        "transport": "sip",
        "caller_hash": "aa",
        "consent": True,
        "words": [{"text": "hello"}],
        "turns": {"response_gaps_s": [0.5, 0.3, 0.4]},
        **changes,
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    (folder / f"{stem}.flac").write_bytes(b"fLaC")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        write(
            tmp_path,
            f"2026010{number + 1}T030405Z-a{number}",
            started_at_ms=number * DAY_MS,
            seconds=10.0 * number,
        )
    return tmp_path


def stems(index: RecordingIndex, **wanted: Any) -> list[str]:
    return [entry.recording_id[-2:] for entry in index.page(Wanted(**wanted))[0]]


def test_the_newest_come_first_page_by_page(folder: Path) -> None:
    index = RecordingIndex(folder)
    found, cursor = index.page(Wanted(), size=2)
    assert [entry.recording_id[-2:] for entry in found] == ["a4", "a3"] and cursor is not None
    found, cursor = index.page(Wanted(), cursor, size=3)
    assert [entry.recording_id[-2:] for entry in found] == ["a2", "a1", "a0"] and cursor is None


def test_every_criterion_narrows(folder: Path) -> None:
    write(folder, "20260201T000000Z-b0", end_reason=None, transport="webrtc", caller_hash="bb", seconds=3)
    index = RecordingIndex(folder)
    assert stems(index, from_ms=2 * DAY_MS, to_ms=4 * DAY_MS) == ["a3", "a2"]
    assert stems(index, min_s=30) == ["a4", "a3"]
    assert stems(index, outcome="unfinished") == stems(index, transport="webrtc") == ["b0"]
    assert stems(index, caller_hash="bb") == ["b0"]
    assert stems(index, outcome="transferred") == []


def test_an_entry_tells_what_a_list_needs(folder: Path) -> None:
    entry = RecordingIndex(folder).find("20260101T030405Z-a0")
    assert entry is not None
    assert entry.as_json() == {
        "id": "20260101T030405Z-a0", "started_at_ms": 1_767_236_645_000, "seconds": 0.0,
        "outcome": "caller_hung_up", "transport": "sip", "caller_hash": "aa", "consent": True,
        "turns": 3, "gap_median_s": 0.4, "words": 1,
    }  # fmt: skip


def test_what_changes_on_the_disk_is_seen(folder: Path) -> None:
    index = RecordingIndex(folder)
    assert len(stems(index)) == 5
    write(folder, "20260109T000000Z-c0")
    os.remove(folder / "20260101T030405Z-a0.json")
    write(folder, "20260102T030405Z-a1", end_reason="agent_hung_up")
    assert stems(index) == ["c0", "a4", "a3", "a2", "a1"]
    assert stems(index, outcome="agent_hung_up") == ["a1"]


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        ".",
        "..",
        "../secret",
        "20260101T030405Z-a0.flac",
        "20260101T030405Z-a0/../x",
        "20260101T030405Z-a\0",
        "%2e%2e",
    ],
)
def test_an_id_is_looked_up_and_never_a_path(folder: Path, wanted: str) -> None:
    (folder.parent / "secret.json").write_text('{"audio": "secret.flac"}')
    assert RecordingIndex(folder).find(wanted) is None


def test_links_foreign_files_and_spoilt_sidecars_are_not_ours(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside, "20260301T000000Z-d0")
    (folder / "20260301T000000Z-d0.json").symlink_to(outside / "20260301T000000Z-d0.json")
    (folder / "notes.json").write_text("{}")
    (folder / "20260302T000000Z-d1.json").write_text("{")
    write(folder, "20260303T000000Z-d2", audio="../../etc/passwd")
    write(folder, "20260304T000000Z-d3", seconds="long")
    write(folder, "20260305T000000Z-d4", words=None, turns=None)
    assert stems(RecordingIndex(folder)) == ["d4", "a4", "a3", "a2", "a1", "a0"]


def test_audio_that_is_a_link_or_has_gone_is_not_served(folder: Path) -> None:
    index = RecordingIndex(folder)
    entry = index.find("20260101T030405Z-a0")
    assert entry is not None and index.audio_path(entry) == folder / "20260101T030405Z-a0.flac"
    (folder / entry.audio_name).unlink()
    assert index.audio_path(entry) is None
    (folder / entry.audio_name).symlink_to("/etc/hostname")
    assert index.audio_path(entry) is None


def test_one_recording_is_found_without_reading_the_others(folder: Path) -> None:
    index = RecordingIndex(folder)
    assert index.find("20260102T030405Z-a1") is not None
    assert list(index._kept) == ["20260102T030405Z-a1.json"]
    (folder / "20260102T030405Z-a1.json").unlink()
    assert index.find("20260102T030405Z-a1") is None


def test_a_sidecar_that_cannot_be_read_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "20260301T000000Z-c0", seconds=float("inf"), started_at_ms=float("inf"))
    index = RecordingIndex(folder)
    assert "c0" not in stems(index)
    reads: list[str] = []
    monkeypatch.setattr(module, "_entry", lambda _folder, name: reads.append(name))
    assert "c0" not in stems(index) and reads == []


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert RecordingIndex(tmp_path / "none").page(Wanted()) == ([], None)
