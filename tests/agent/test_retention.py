"""Old recordings go, young ones and foreign files stay."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog

from agent import metrics, recording_files, retention
from agent.retention import DAY_S, keep_purging, overdue, purge

NOW_S = 2_000_000_000.0
OLD, OLDER, LIVE, YOUNG = (f"20260102T03040{n}Z-{n}a" for n in range(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ages_d = {
        f"{OLD}.flac": 11,
        f"{OLD}.json": 11,
        f"{OLDER}.sealed": 40,
        f"{OLDER}.json.sealed": 40,
        f"{LIVE}.wav": 40,  # its sound is written, its words have just been
        f"{LIVE}.json": 0,
        f"{YOUNG}.flac": 9,
        "notes.txt": 400,
    }
    for name, age_d in ages_d.items():
        path = tmp_path / name
        path.touch()
        os.utime(path, (NOW_S - age_d * DAY_S,) * 2)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def deleted() -> float:
    return metrics.REGISTRY.get_sample_value("offhook_recordings_deleted_total") or 0.0


def test_what_is_old_goes_with_all_its_files(folder: Path) -> None:
    before = deleted()
    assert overdue(folder, 10 * DAY_S, NOW_S) == [OLDER, OLD]
    assert purge(folder, 10 * DAY_S, NOW_S) == 2
    assert names(folder) == {f"{LIVE}.wav", f"{LIVE}.json", f"{YOUNG}.flac", "notes.txt"}
    assert deleted() == before + 2
    assert purge(folder, 10 * DAY_S, NOW_S) == 0


def test_however_short_the_time_no_live_call_loses_its_recording(folder: Path) -> None:
    assert LIVE not in overdue(folder, 0.001, NOW_S + 30)


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recording_files.remove

    def stuck(where: Path, stem: str) -> int:
        if stem == OLDER:
            raise PermissionError(13, "not yours")
        return real(where, stem)

    monkeypatch.setattr(retention, "remove", stuck)
    with structlog.testing.capture_logs() as logs:
        assert purge(folder, 10 * DAY_S, NOW_S) == 1
    assert logs[0]["event"] == "recording_not_deleted" and logs[0]["recording"] == OLDER


async def test_the_job_goes_on_where_there_is_no_folder_yet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    later = folder / "later"
    job = asyncio.create_task(keep_purging(later, 10, lambda: NOW_S))
    await asyncio.sleep(0.05)
    later.mkdir()
    (folder / f"{OLD}.flac").rename(later / f"{OLD}.flac")
    async with asyncio.timeout(5):
        while names(later):  # noqa: ASYNC110 - a folder tells no event
            await asyncio.sleep(0.01)
    assert not job.done()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
