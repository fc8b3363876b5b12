"""Debian's Chromium without a window: a person at the console. Playwright drives it, downloading nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, ViewportSize

from agent.bench_gateway import GatewayProcess

CHROMIUM = "/usr/bin/chromium"
Theme = Literal["light", "dark"]
DESK = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=360, height=740)
TIMEOUT_MS = 8000
# The browser's own line for every refused request, and what it says of how these tests look and listen.
EXPECTED = ("status of 401", "willReadFrequently", "ScriptProcessorNode")


@contextmanager
def chromium(
    playwright: Playwright, microphone: Path | None = None, more: Sequence[str] = ()
) -> Iterator[Browser]:
    """A browser whose microphone plays this file over and over, or a beep; a context says who may use it."""
    arguments = [
        "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-features=WebRtcHideLocalIpsWithMdns",  # a container has no mDNS
        *more,
    ]
    if microphone is not None:
        arguments.append(f"--use-file-for-fake-audio-capture={microphone}")
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it refuses to be root's otherwise
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def desk(
    browser: Browser, theme: Theme = "light", size: ViewportSize = DESK, *, may_listen: bool = True
) -> Iterator[BrowserContext]:
    """One person's browser window, with nothing in it from anybody before."""
    context = browser.new_context(viewport=size, color_scheme=theme, locale="en-GB", accept_downloads=True)
    context.set_default_timeout(TIMEOUT_MS)
    if may_listen:
        context.grant_permissions(["microphone"])
    try:
        yield context
    finally:
        context.close()


def sign_in(page: Page, gateway: GatewayProcess, path: str = "live") -> None:
    """Open the console with the gateway's own key, at one of its pages."""
    page.goto(gateway.url)
    page.get_by_label("API key").fill(gateway.key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#tabs a")
    go(page, path)


def go(page: Page, path: str) -> None:
    """Follow a link inside the console."""
    page.evaluate("path => { location.hash = `#/${path}`; }", path)
    page.wait_for_selector("main h1, main .empty")


class Complaints:
    """What a page's scripts and policy complained of."""

    def __init__(self, page: Page) -> None:
        self.texts: list[str] = []
        page.on("console", lambda message: self._take(message.type, message.text))
        page.on("pageerror", lambda error: self.texts.append(str(error)))

    def _take(self, kind: str, text: str) -> None:
        is_expected = any(word in text for word in EXPECTED)
        if kind in ("error", "warning") and not is_expected:
            self.texts.append(text)


def ink(page: Page, selector: str) -> dict[str, int]:
    """How many pixels of a canvas have the caller's, the agent's and no colour."""
    found: dict[str, Any] = page.eval_on_selector(
        selector,
        """canvas => {
          const style = getComputedStyle(document.documentElement);
          const rgb = (name) => {
            const hex = style.getPropertyValue(name).trim();
            return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
          };
          const sides = {caller: rgb("--caller"), agent: rgb("--agent")};
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const found = {caller: 0, agent: 0, blank: 0};
          for (let at = 0; at < pixels.length; at += 4) {
            if (!pixels[at + 3]) found.blank += 1;
            for (const [side, colour] of Object.entries(sides)) {
              if (colour.every((value, index) => Math.abs(value - pixels[at + index]) < 8)) found[side] += 1;
            }
          }
          return found;
        }""",
    )
    return {side: int(count) for side, count in found.items()}
