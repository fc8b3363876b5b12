"""A newcomer's first minute: the printed page, the button, an order spoken into the microphone.

The built-in model answers; what the page receives is recorded there and recognised by the closed grammar of
the agent's own lines.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, Playwright, expect

from agent.bench_gateway import GatewayProcess
from agent.evaluation.judge import Judge, is_complete
from agent.evaluation.segments import speech_segments, talks
from model.channel import resample
from model.voices import HELD_OUT_VOICES, synthesize
from telephony.audio import Pcm
from telephony.endpoint import SAMPLE_RATE_HZ
from tests.console.browser import Complaints, chromium, desk, ink

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.redis,
    pytest.mark.timeout(180),
]
MICROPHONE_HZ = 48_000
GREETING_S, ANSWER_S = 3.5, 9.0  # of the caller's silence, before and after the order
START_LIMIT_S = 5.0  # from the page to the conversation

RECORD = """async (rate) => {
  const audio = new AudioContext({sampleRate: rate});
  const source = audio.createMediaStreamSource(document.getElementById("heard").srcObject);
  const tap = audio.createScriptProcessor(4096, 1, 1);
  window.received = [];
  tap.onaudioprocess = ({inputBuffer}) => window.received.push(inputBuffer.getChannelData(0).slice());
  source.connect(tap);
  tap.connect(audio.destination);
}"""
RECEIVED = """() => {
  const pcm = new Float32Array(window.received.length * 4096);
  window.received.forEach((part, index) => pcm.set(part, 4096 * index));
  const bytes = new Uint8Array(pcm.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a browser takes for a microphone: silence, an order, silence."""
    order = synthesize("can I get a large latte with soy milk please", HELD_OUT_VOICES[0]).pcm
    silences = [np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32) for seconds in (GREETING_S, ANSWER_S)]
    path = tmp_path_factory.mktemp("microphone") / "caller.wav"
    said = np.concatenate([silences[0], order, silences[1]])
    soundfile.write(path, resample(said, SAMPLE_RATE_HZ, MICROPHONE_HZ), MICROPHONE_HZ, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the built-in model, that records."""
    settings = {
        "OFFHOOK_WORKER__SLOTS": "1",
        "OFFHOOK_RECORDING__FOLDER": str(tmp_path_factory.mktemp("calls")),
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
    }
    with GatewayProcess(settings, start_timeout_s=90) as gateway:
        yield gateway


@pytest.fixture
def person(playwright: Playwright, microphone: Path) -> Iterator[Page]:
    """A browser with that microphone."""
    with chromium(playwright, microphone) as browser, desk(browser) as context:
        yield context.new_page()


def received(page: Page) -> Pcm:
    """What the page's loudspeaker got, float32 [T] at 24 kHz."""
    return np.frombuffer(base64.b64decode(page.evaluate(RECEIVED)), np.float32)


@pytest.mark.alone
def test_talking_within_three_clicks_and_everything_is_there_afterwards(
    person: Page, line: GatewayProcess
) -> None:
    page, complaints = person, Complaints(person)
    link = re.search(r"console: (\S+#code=\S+)", line.log)
    assert link is not None, line.log
    began_s = time.monotonic()
    page.goto(link[1])  # the first click
    page.get_by_role("link", name="Call the agent").click()
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    assert time.monotonic() - began_s < START_LIMIT_S
    page.evaluate(RECORD, SAMPLE_RATE_HZ)

    watching = page.context.new_page()
    watching.goto(f"{line.url}/#/live")
    expect(watching.locator(".row .tag")).to_have_text("Browser")
    page.bring_to_front()
    expect(page.locator(".line.agent p").first).to_contain_text(
        re.compile("coffee|hello|help|get you"), timeout=15_000
    )
    expect(page.locator(".line.caller p").first).to_contain_text(
        re.compile("latte|soy|milk|large"), timeout=20_000
    )
    answers = page.locator(".line.caller ~ .line.agent")  # lines stand in the order in which they began
    expect(answers).not_to_have_count(0, timeout=15_000)
    time.sleep(4)
    assert ink(watching, ".row canvas")["caller"] > 20
    sound = received(page)
    page.locator("#dial").click()
    expect(page.locator(".call-status")).to_have_text("You hung up.")
    assert complaints.texts == []

    expect(watching.locator(".past li")).to_have_count(1)
    watching.locator(".past a").click()
    watching.wait_for_selector("canvas.wave")
    expect(watching.locator(".words .line.caller")).not_to_have_count(0)
    drawn = ink(watching, "canvas.wave")
    assert drawn["caller"] > 200 and drawn["agent"] > 200
    (found,) = json.loads(line.get("/v1/recordings"))["recordings"]
    assert found["transport"] == "webrtc" and found["outcome"] == "caller_hung_up"

    judge = Judge()
    spans = talks(speech_segments(sound))
    verdicts = [
        judge.hear(sound[int(s.start_s * SAMPLE_RATE_HZ) : int(s.end_s * SAMPLE_RATE_HZ)]) for s in spans
    ]
    assert any(is_complete(verdict.words) for verdict in verdicts), verdicts
