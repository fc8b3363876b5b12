"""The Call page against a real WebRTC peer in another tab: what the gateway sends, without the gateway."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from agent.bench_gateway import GatewayProcess
from tests.console.browser import desk, sign_in

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

ANSWER = """async (sdp) => {
  const peer = new RTCPeerConnection();
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const out = audio.createMediaStreamDestination();
  tone.frequency.value = 440;
  tone.connect(out);
  tone.start();
  window.heard = [];
  window.told = [];
  peer.ondatachannel = ({channel}) => {
    window.channel = channel;
    channel.onmessage = (event) => window.told.push(JSON.parse(event.data));
  };
  peer.ontrack = ({streams: [stream]}) => {
    const element = new Audio();
    element.srcObject = stream;
    element.muted = true;
    element.play();
    const reader = audio.createAnalyser();
    audio.createMediaStreamSource(stream).connect(reader);
    const samples = new Float32Array(reader.fftSize);
    window.level = () => {
      reader.getFloatTimeDomainData(samples);
      return Math.max(...samples.map(Math.abs));
    };
  };
  await peer.setRemoteDescription({type: "offer", sdp});
  peer.addTrack(out.stream.getTracks()[0], out.stream);
  await peer.setLocalDescription(await peer.createAnswer());
  await new Promise((done) => {
    if (peer.iceGatheringState === "complete") done();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
  });
  window.peer = peer;
  return peer.localDescription.sdp;
}"""


class Agent:
    """The other tab: answers the page's offer and sends what a test tells it to."""

    def __init__(self, page: Page, tab: Page) -> None:
        self.tab = tab
        self.offers: list[dict[str, Any]] = []
        self.bearers: list[str] = []
        page.route("**/v1/live/sessions", self._answer)

    def _answer(self, route: Route) -> None:
        self.offers.append(route.request.post_data_json or {})
        self.bearers.append(route.request.headers["authorization"])
        sdp = self.tab.evaluate(ANSWER, self.offers[-1]["transport"]["sdp"])
        body = {"session": {"id": "live_1"}, "transport": {"type": "webrtc", "sdp": sdp}}
        route.fulfill(status=201, content_type="application/json", body=json.dumps(body))

    def send(self, **event: object) -> None:
        """One event on the data channel, once that is open."""
        self.tab.wait_for_function("() => window.channel?.readyState === 'open'")
        self.tab.evaluate("event => channel.send(JSON.stringify(event))", event)

    def told(self) -> list[str]:
        """The events that the page sent."""
        return [str(event["type"]) for event in self.tab.evaluate("told")]


@pytest.fixture
def call(browser: Browser, gateway: GatewayProcess) -> Iterator[tuple[Page, Agent]]:
    """The Call page, and who will answer it."""
    with desk(browser) as context:
        page, tab = context.new_page(), context.new_page()
        tab.goto(f"{gateway.url}/healthz")
        page.bring_to_front()
        agent = Agent(page, tab)
        sign_in(page, gateway, "call")
        yield page, agent


def test_a_call_from_the_button_to_the_agents_goodbye(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    expect(page.locator(".timer")).to_have_text("0:01")
    (offer,) = agent.offers
    assert offer["session"]["model"] and offer["transport"]["type"] == "webrtc"
    sdp = offer["transport"]["sdp"]
    assert (
        "a=candidate:" in sdp and "m=application" in sdp and "opus" in sdp
    )  # non-trickle: all is in the offer
    for text, start_ms in ((" good", 0), (" mor", 200), ("ning", 300)):
        agent.send(
            type="session.output_transcript.delta", delta=text, start_ms=start_ms, end_ms=start_ms + 100
        )
    agent.send(type="session.input_transcript.delta", delta=" hello", start_ms=900, end_ms=1200)
    expect(page.locator(".line.agent p")).to_have_text("good morning")
    expect(page.locator(".line.caller .name")).to_have_text("You")
    agent.tab.wait_for_function("() => level() > 0.02")  # the microphone's beep has come there
    agent.send(type="session.closed", reason="close_requested")  # as the gateway says when its agent hangs up
    expect(page.locator(".call-status")).to_have_text("The other side ended the call.")
    expect(page.locator("#dial")).to_contain_text("Call again")
    expect(page.locator(".line.agent p")).to_have_text("good morning")  # what was said stays


def test_the_agent_is_heard(call: tuple[Page, Agent]) -> None:
    page, _ = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    peak_hz = page.evaluate(
        """async () => {
          const audio = new AudioContext();
          const reader = audio.createAnalyser();
          audio.createMediaStreamSource(document.getElementById("heard").srcObject).connect(reader);
          const bins = new Float32Array(reader.frequencyBinCount);
          for (let tries = 0; tries < 50; tries += 1) {
            await new Promise((done) => setTimeout(done, 100));
            reader.getFloatFrequencyData(bins);
            const at = bins.indexOf(Math.max(...bins));
            if (bins[at] > -60 && at > 0) return (at * audio.sampleRate) / reader.fftSize;
          }
          return 0;
        }"""
    )
    assert peak_hz == pytest.approx(440, abs=30)
    assert not page.locator("#heard").evaluate("sink => sink.paused || sink.muted")


def test_mute_keys_and_hanging_up(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    agent.tab.wait_for_function("() => level() > 0.02")
    page.locator("#mute").click()
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    agent.tab.wait_for_function("() => level() < 0.001")
    page.keyboard.press("m")
    agent.tab.wait_for_function("() => level() > 0.02")
    page.locator("#keypad").click()
    page.get_by_role("button", name="Press 5").click()
    page.keyboard.press("#")
    expect(page.locator(".pressed")).to_have_text("5#")
    page.locator("#dial").click()
    expect(page.locator(".call-status")).to_have_text("Ending the call …")
    agent.tab.wait_for_function("() => told.some((event) => event.type === 'session.close')")
    agent.send(type="session.closed", reason="close_requested")
    expect(page.locator(".call-status")).to_have_text("You hung up.")
    assert agent.told() == ["session.input_audio.mute", "session.input_audio.unmute", "session.close"]
    assert page.evaluate("document.getElementById('heard').srcObject") is None
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    assert len(agent.offers) == 2 and len(set(agent.bearers)) == 2  # each call has a token of its own


def test_a_call_after_a_muted_one_shows_that_its_microphone_is_open(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.locator("#dial").click()
    page.locator("#mute").click()
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    agent.send(type="session.closed", reason="close_requested")
    expect(page.locator("#dial")).to_contain_text("Call again")
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "false")
    agent.tab.wait_for_function("() => level() > 0.02")


def test_a_gateway_that_goes_without_a_word_is_a_lost_connection(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    agent.tab.evaluate("peer.close()")
    expect(page.locator(".call-status")).to_have_text("The connection was lost.")


def test_cancelling_while_the_call_connects_gives_its_line_back(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.evaluate("() => { RTCPeerConnection.prototype.setRemoteDescription = () => new Promise(() => {}); }")
    with page.expect_request("**/v1/live/sessions/live_1/hangup"):
        page.locator("#dial").click()
        expect(page.locator("#dial")).to_contain_text("Cancel")
        page.wait_for_function(
            """() => performance.getEntriesByType("resource").some((one) => one.name.endsWith("/sessions"))"""
        )
        page.locator("#dial").click()
    expect(page.locator(".call-status")).to_have_text("You hung up.")
    assert len(agent.offers) == 1


def test_leaving_the_page_ends_the_call(call: tuple[Page, Agent]) -> None:
    page, agent = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    page.get_by_role("link", name="Health").click()
    agent.tab.wait_for_function("() => told.some((event) => event.type === 'session.close')")
    agent.tab.wait_for_function("() => channel.readyState === 'closed'")


def test_a_gateway_that_refuses_is_explained(page: Page, gateway: GatewayProcess) -> None:
    statuses = {
        503: "All lines are busy",
        404: "takes no calls from browsers",
        403: "may not call",
        500: "could not be set up",
    }
    wanted = iter(statuses)
    error = {"error": {"message": "No.", "type": "server_error", "param": None, "code": "no"}}

    def refuse(route: Route) -> None:
        route.fulfill(status=next(wanted), content_type="application/json", body=json.dumps(error))

    page.route("**/v1/live/sessions", refuse)
    sign_in(page, gateway, "call")
    for told in statuses.values():
        page.locator("#dial").click()
        expect(page.get_by_role("alert")).to_contain_text(told)
        expect(page.locator("#dial")).to_contain_text("Try again")


def test_a_token_is_no_secret_that_lasts(call: tuple[Page, Agent], gateway: GatewayProcess) -> None:
    page, agent = call
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up")
    (bearer,) = agent.bearers
    assert gateway.key not in bearer and gateway.key not in base64.b64decode(bearer[7:] + "==", "-_").decode(
        "latin1"
    )
    assert (
        page.evaluate(
            "bearer => fetch('/v1/calls', {headers: {Authorization: bearer}}).then((a) => a.status)", bearer
        )
        == 401
    )
