"""Pictures of every page of the console, light and dark, with real calls of the built-in model behind them.

    python -m tests.console.take_pictures docs/images

A caller of `offhook demo`'s voices telephones, another speaks into the browser's microphone; the names of the
files are console-<page>-<theme>.png, and console-phone-<page>-<theme>.png for a screen of 360 pixels.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Browser, Page, sync_playwright

from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipPeer, sdp
from model.channel import resample
from model.voices import HELD_OUT_VOICES, SAMPLE_RATE_HZ, synthesize
from tests.console.browser import DESK, PHONE, Theme, chromium, desk, sign_in

RTP_HZ, MICROPHONE_HZ = 8_000, 48_000
SCRIPT = (
    (3.6, "can I get a large latte with soy milk please"),
    (5.5, "yes that's right"),
    (5.0, "when are you open"),
    (5.0, "where are you"),
)
THEMES: tuple[Theme, ...] = ("light", "dark")


def speech(
    rate_hz: int, voice: int, num_lines: int = len(SCRIPT)
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A caller's side of a conversation, float32 [T]."""
    parts = []
    for pause_s, text in SCRIPT[:num_lines]:
        parts += [np.zeros(int(pause_s * SAMPLE_RATE_HZ)), synthesize(text, HELD_OUT_VOICES[voice]).pcm]
    whole = np.concatenate([*parts, np.zeros(int(6 * SAMPLE_RATE_HZ))]).astype(np.float32)
    return resample(whole, SAMPLE_RATE_HZ, rate_hz)


@contextmanager
def calling(gateway: GatewayProcess, voice: int) -> Iterator[SipPeer]:
    """A telephone call that goes on."""
    with SipPeer(gateway.address, caller=f"+1555{1000 + 37 * voice}") as peer, closing(RtpEnd()) as end:
        answer = peer.call(sdp(end.port))
        end.start((gateway.address[0], answer.media_port))
        end.play(speech(RTP_HZ, voice))
        yield peer
        peer.hang_up()


class Camera:
    """Takes a page in both themes, on a desk and on a telephone."""

    def __init__(self, browser: Browser, gateway: GatewayProcess, folder: Path) -> None:
        self._browser, self._gateway, self._folder = browser, gateway, folder

    def take(self, name: str, path: str, wait_for: str = "main h1") -> None:
        """The page at this path."""
        for theme in THEMES:
            for size, prefix in ((DESK, "console"), (PHONE, "console-phone")):
                with desk(self._browser, theme, size) as context:
                    page = context.new_page()
                    sign_in(page, self._gateway, path)
                    page.wait_for_selector(wait_for)
                    time.sleep(1.0)
                    page.screenshot(path=self._folder / f"{prefix}-{name}-{theme}.png")

    def take_sign_in(self) -> None:
        """The page before anybody is known."""
        for theme in THEMES:
            with desk(self._browser, theme) as context:
                page = context.new_page()
                page.goto(self._gateway.url)
                page.wait_for_selector("#key")
                page.screenshot(path=self._folder / f"console-sign-in-{theme}.png")

    def take_talk(self) -> None:
        """A call from the browser, in the middle of it, and after it in the dark."""
        with desk(self._browser) as context:
            page = context.new_page()
            sign_in(page, self._gateway, "call")
            page.locator("#dial").click()
            page.wait_for_selector("[data-state=talking]")
            time.sleep(16)
            self._both_themes(page, "talk")
            page.locator("#dial").click()
            page.wait_for_selector("[data-state=ended]")

    def _both_themes(self, page: Page, name: str) -> None:
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            for size, prefix in ((DESK, "console"), (PHONE, "console-phone")):
                page.set_viewport_size(size)
                time.sleep(0.3)
                page.screenshot(path=self._folder / f"{prefix}-{name}-{theme}.png")


def run(folder: Path) -> None:
    """Take them all."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        calls = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        microphone = calls / "microphone.wav"
        soundfile.write(microphone, speech(MICROPHONE_HZ, 1), MICROPHONE_HZ, subtype="PCM_16")
        settings = {"OFFHOOK_WORKER__SLOTS": "3", "OFFHOOK_RECORDING__FOLDER": str(calls / "recorded")}
        gateway = stack.enter_context(GatewayProcess(settings, start_timeout_s=120))
        playwright = stack.enter_context(sync_playwright())
        browser = stack.enter_context(chromium(playwright, microphone))
        camera = Camera(browser, gateway, folder)
        camera.take_sign_in()
        camera.take("call", "call", "#dial")
        with calling(gateway, 0):
            time.sleep(9)
            with calling(gateway, 2):
                time.sleep(9)
                live = gateway.calls()
                camera.take("live", "live", ".row")
                camera.take("watch", f"live/{live[0]['call_id']}", ".captions .line")
                camera.take("health", "health", ".worker")
        if importlib.util.find_spec("agent.live_routes") is not None:
            camera.take_talk()
        gateway.wait_until_idle()
        camera.take("recordings", "recordings", ".recordings li")
        with desk(browser) as context:
            page = context.new_page()
            sign_in(page, gateway, "recordings")
            hrefs = page.locator(".recordings a")
            hrefs.first.wait_for()
            oldest = hrefs.last.get_attribute("href") or ""
        camera.take("recording", oldest.removeprefix("#/"), "canvas.wave")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the pictures go")
    run(parser.parse_args().folder)
