"""`offhook bench console`: what watching costs. Many live calls, and no page, one page, many pages at them.

Pages are WebSocket clients of their own thread; they must be told of changes at least twice a second, and the
gateway's CPU time with and without them is written down. What a browser makes of it is not measured here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from agent.bench_chorus import Chorus
from agent.bench_gateway import GatewayProcess
from agent.machine import this_machine

LEAST_PER_S = 2.0
SETTLE_S = 3.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Watch:
    """What one page got."""

    times_s: list[float] = field(default_factory=list)
    num_bytes: int = 0
    num_calls: int = 0  # in the snapshot


@dataclass(frozen=True, slots=True)
class Row:
    """One number of pages."""

    num_pages: int
    num_calls: int  # that the pages saw, 0 without any
    cpu_share: float  # of one CPU, the gateway's process alone
    updates_per_s: float  # of the page that got the fewest
    longest_pause_s: float  # between two updates of any page
    bytes_per_s: float  # to one page

    def is_fluent(self, num_calls: int) -> bool:
        """Whether every page was told of so many calls, and often enough."""
        return not self.num_pages or (self.num_calls == num_calls and self.updates_per_s >= LEAST_PER_S)


def measure(num_calls: int, page_counts: list[int], seconds: float) -> list[Row]:
    """Run the bench on a gateway of our own, with the stand-in engine. Raises CallRefused."""
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(num_calls),
        "OFFHOOK_SIP__MAX_CALLS": str(num_calls),
        "OFFHOOK_LOG__LEVEL": "warning",
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
    }
    with GatewayProcess(settings) as gateway, Chorus(gateway, num_calls):
        time.sleep(SETTLE_S)
        return [_row(gateway, num_pages, seconds) for num_pages in page_counts]


def _row(gateway: GatewayProcess, num_pages: int, seconds: float) -> Row:
    began_s, began_cpu_s = time.monotonic(), cpu_s(gateway.pid)
    watches = asyncio.run(_watch(gateway, num_pages, seconds))
    took_s = time.monotonic() - began_s
    share = (cpu_s(gateway.pid) - began_cpu_s) / took_s
    pauses = [
        after - before for one in watches for before, after in zip(one.times_s, one.times_s[1:], strict=False)
    ]
    return Row(
        num_pages,
        min((one.num_calls for one in watches), default=0),
        round(share, 3),
        round(min((len(one.times_s) for one in watches), default=0) / seconds, 2),
        round(max(pauses, default=0.0), 3),
        round(max((one.num_bytes for one in watches), default=0) / seconds),
    )


async def _watch(gateway: GatewayProcess, num_pages: int, seconds: float) -> list[Watch]:
    watches = [Watch() for _ in range(num_pages)]
    headers = {"Authorization": f"Bearer {gateway.key}"}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as http, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_follow(http, watch)) for watch in watches]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    return watches


async def _follow(http: aiohttp.ClientSession, watch: Watch) -> None:
    async with http.ws_connect("/v1/console/events", max_msg_size=0) as socket:
        async for message in socket:
            watch.times_s.append(time.monotonic())
            watch.num_bytes += len(message.data)
            if not watch.num_calls:
                watch.num_calls = len(json.loads(message.data)["calls"])


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=200, help="live calls, 256 at most (default 200)")
    parser.add_argument("--pages", default="0,1,10", help="numbers of pages, with commas (default 0,1,10)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each of them (default 20)")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Print one row for each number of pages; 1 if a page was told less than twice a second."""
    rows = measure(args.calls, [int(count) for count in args.pages.split(",")], args.seconds)
    table = Table("pages", "calls seen", "gateway CPU", "updates/s", "longest pause", "KB/s to a page")
    for row in rows:
        table.add_row(
            str(row.num_pages),
            str(row.num_calls),
            f"{100 * row.cpu_share:.1f} %",
            f"{row.updates_per_s:g}",
            f"{1000 * row.longest_pause_s:.0f} ms",
            f"{row.bytes_per_s / 1000:.1f}",
        )
    out = Console()
    out.print(f"{args.calls} live calls, {args.seconds:g} s each; {this_machine()}")
    out.print(table)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if all(row.is_fluent(args.calls) for row in rows) else 1
