"""Recordings go away when they are old enough: a job of `serve`, and `offhook recordings purge`.

A recording's age is that of its youngest file: a call that lives writes its sidecar every few seconds, so no
live call loses its recording however short the time is. What is not named as we name files is left alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from agent import metrics
from agent.recording_files import remove, stem_of

DAY_S = 86_400.0
EVERY_S = 600.0
LEAST_AGE_S = 60.0  # a live call's sidecar is younger

log = structlog.get_logger(__name__)


def overdue(folder: Path, keep_s: float, now_s: float) -> list[str]:
    """The recordings whose files are all older than `keep_s` at `now_s` (Unix epoch), the oldest first."""
    youngest: dict[str, float] = {}
    try:
        with os.scandir(folder) as listed:
            for item in listed:
                stem = stem_of(item.name)
                if stem and item.is_file(follow_symlinks=False):
                    changed_s = item.stat(follow_symlinks=False).st_mtime
                    youngest[stem] = max(changed_s, youngest.get(stem, 0.0))
    except FileNotFoundError:
        return []  # no call has been recorded yet
    age_s = max(keep_s, LEAST_AGE_S)
    return sorted((stem for stem, at_s in youngest.items() if now_s - at_s > age_s), key=youngest.__getitem__)


def purge(folder: Path, keep_s: float, now_s: float) -> int:
    """Delete what is overdue; how many recordings went. One that cannot be deleted is logged and left."""
    num = 0
    for stem in overdue(folder, keep_s, now_s):
        try:
            remove(folder, stem)
        except OSError as error:
            log.error("recording_not_deleted", recording=stem, cause=type(error).__name__)
            continue
        num += 1
        metrics.RECORDINGS_DELETED.inc()
    if num:
        log.info("recordings_deleted", num=num)
    return num


async def keep_purging(folder: Path, keep_days: float, now: Callable[[], float] = time.time) -> None:
    """Purge now and again, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(purge, folder, keep_days * DAY_S, now())
        except OSError as error:
            log.error("retention_failed", cause=type(error).__name__, folder=str(folder))
        await asyncio.sleep(EVERY_S)
