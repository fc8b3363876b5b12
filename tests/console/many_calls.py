"""How smooth the Live page is in a browser with hundreds of calls.

python -m tests.console.many_calls --calls 200 --picture many.png
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from agent.bench_chorus import Chorus
from agent.bench_gateway import GatewayProcess
from agent.machine import this_machine
from tests.console.browser import chromium, desk, sign_in

SETTLE_S = 3.0

MEASURE = """async (seconds) => {
  let updates = 0;
  const observer = new MutationObserver(() => { updates += 1; });
  observer.observe(document.querySelector(".calls"), {subtree: true, characterData: true, childList: true});
  const frames = [];
  const longTasks = [];
  new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({entryTypes: ["longtask"]});
  const end = performance.now() + 1000 * seconds;
  for (let now = performance.now(); now < end;) {
    now = await new Promise((done) => requestAnimationFrame(done));
    frames.push(now);
  }
  observer.disconnect();
  const pauses = frames.slice(1).map((at, index) => at - frames[index]).sort((a, b) => a - b);
  return {
    frames_per_s: frames.length / seconds,
    worst_frame_ms: pauses.at(-1),
    p99_frame_ms: pauses[Math.floor(0.99 * pauses.length)],
    long_tasks: longTasks.length,
    longest_task_ms: Math.max(0, ...longTasks),
    updates,
  };
}"""


@dataclass(frozen=True, slots=True)
class Smoothness:
    """What the browser's own clock says of the page."""

    num_rows: int
    frames_per_s: float
    p99_frame_ms: float
    worst_frame_ms: float
    num_long_tasks: int  # over 50 ms
    longest_task_ms: float
    num_updates: int  # of the page's text


def smoothness(page: Page, seconds: float) -> Smoothness:
    """Watch the Live page for so long."""
    found = page.evaluate(MEASURE, seconds)
    return Smoothness(
        page.locator(".calls .row").count(),
        round(found["frames_per_s"], 1),
        round(found["p99_frame_ms"], 1),
        round(found["worst_frame_ms"], 1),
        found["long_tasks"],
        round(found["longest_task_ms"]),
        found["updates"],
    )


def run(num_calls: int, seconds: float, picture: Path | None) -> Smoothness:
    """Place the calls, open the page, look."""
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(num_calls),
        "OFFHOOK_SIP__MAX_CALLS": str(num_calls),
        "OFFHOOK_LOG__LEVEL": "warning",
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
    }
    with (
        GatewayProcess(settings) as gateway,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
        desk(browser) as context,
        Chorus(gateway, num_calls),
    ):
        page = context.new_page()
        sign_in(page, gateway)
        page.wait_for_selector(".calls .row")
        time.sleep(SETTLE_S)
        found = smoothness(page, seconds)
        if picture is not None:
            page.screenshot(path=picture)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    print(f"{this_machine()}\n{run(args.calls, args.seconds, args.picture)}")
