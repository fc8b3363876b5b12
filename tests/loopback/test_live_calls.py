"""`offhook serve` with the stand-in engine, called over WebRTC by aiortc's peer and OpenAI's client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.live import OutputTranscriptDeltaEvent, SessionClosedEvent, SessionStartedEvent

from agent.bench_gateway import GatewayProcess
from agent.bench_web import WebPeer
from agent.errors import WorkerUnavailable
from agent.live_events import MAX_MESSAGE_CHARS
from agent.standin import line_hz
from telephony.endpoint import SAMPLE_RATE_HZ
from tests.signals import find_tone, tone

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

SETTINGS = {
    "OFFHOOK_WORKER__ENGINE": "standin",
    "OFFHOOK_WORKER__SLOTS": "24",
    "OFFHOOK_LOG__FORMAT": "json",
    "OFFHOOK_LOG__PII": "yes",
    "OFFHOOK_DRAIN_TIMEOUT_S": "0",
    "OFFHOOK_CALL__MEDIA_TIMEOUT_S": "1.5",
    "OFFHOOK_WEBRTC__CONNECT_TIMEOUT_S": "2",
}
SPEECH = tone(300, 0.8, SAMPLE_RATE_HZ, 0.3)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def gateway(recordings: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess({**SETTINGS, "OFFHOOK_RECORDING__FOLDER": str(recordings)}) as process:
        yield process
        assert process.is_running, process.log
        assert '"level": "error"' not in process.log, process.log


async def ended(gateway: GatewayProcess) -> None:
    await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 0)
    await asyncio.to_thread(gateway.wait_for_metric, "offhook_worker_slots_used", 0)


def recorded(folder: Path) -> set[Path]:
    return set(folder.glob("*.flac"))


async def test_both_sides_are_heard_captioned_and_recorded(gateway: GatewayProcess, recordings: Path) -> None:
    before = recorded(recordings)
    async with WebPeer(gateway.url, gateway.key) as peer:
        started = await peer.call()
        session = started["session"]
        assert session["id"] == peer.id and session["model"] == "offhook" and session["status"] == "active"
        assert session["expires_at"] > time.time()
        greeting = await peer.wait("session.output_transcript.delta")
        assert greeting["delta"] == " line0" and 0 <= greeting["start_ms"] < greeting["end_ms"]
        await asyncio.sleep(1.2)
        peer.microphone.say(SPEECH)
        said = await peer.wait("session.input_transcript.delta")
        assert said["delta"].startswith(" ") and said["start_ms"] > greeting["start_ms"]
        while (await peer.wait("session.output_transcript.delta"))["delta"] != " line1":
            pass
        await asyncio.sleep(0.4)
        (record,) = gateway.calls()
        assert record["transport"] == "webrtc" and record["codec"] == "opus/48000"
        await peer.press("5")
        peer.send("session.close", event_id="bye")
        closed = await peer.wait("session.closed")
        assert closed["reason"] == "close_requested" and closed["client_event_id"] == "bye"
        assert closed["session"] == session and closed["usage"]["seconds"] > 3
        assert round(find_tone(peer.heard[: SAMPLE_RATE_HZ * 2], SAMPLE_RATE_HZ), -1) == line_hz(0)
    await ended(gateway)
    (path,) = recorded(recordings) - before
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == SAMPLE_RATE_HZ
    assert find_tone(sound[:, 0], rate) == pytest.approx(300, abs=2)
    loud = np.sort(np.abs(sound[:, 0]))[-2000:].mean()
    assert loud == pytest.approx(0.3, abs=0.04)  # a stereo sender is not 6 dB too loud
    told = json.loads(path.with_suffix(".json").read_text())
    assert [one["digit"] for one in told["dtmf"]] == ["5"]
    assert told["end_reason"] == "caller_hung_up"
    assert (told["transport"], told["codec"]) == ("webrtc", "opus/48000")


async def test_a_muted_caller_is_not_heard(gateway: GatewayProcess) -> None:
    async with WebPeer(gateway.url, gateway.key) as peer:
        await peer.call()
        peer.send("session.input_audio.mute", event_id="m1")
        muted = await peer.wait("session.input_audio.muted")
        assert muted["client_event_id"] == "m1"
        peer.microphone.say(SPEECH)
        await asyncio.sleep(1.4)
        assert not any(event["type"] == "session.input_transcript.delta" for event in peer.events)
        peer.send("session.input_audio.unmute")
        await peer.wait("session.input_audio.unmuted")
        peer.microphone.say(SPEECH)
        await peer.wait("session.input_transcript.delta")
        assert await peer.post_hangup() == 200
        assert (await peer.wait("session.closed"))["reason"] == "close_requested"
        await ended(gateway)
        assert await peer.post_hangup() == 404


async def test_a_peer_that_closes_has_hung_up(gateway: GatewayProcess) -> None:
    before = len(gateway.events("call_ended"))
    async with WebPeer(gateway.url, gateway.key) as peer:
        await peer.call()
    await ended(gateway)
    for _ in range(50):  # it is logged a moment after the slot is free
        if len(events := gateway.events("call_ended")) > before:
            break
        await asyncio.sleep(0.1)
    assert events[before]["reason"] == "caller_hung_up"


async def test_openais_own_client_starts_a_session(gateway: GatewayProcess) -> None:
    client = AsyncOpenAI(api_key=gateway.key, base_url=f"{gateway.url}/v1")
    async with client, WebPeer(gateway.url, gateway.key) as peer:
        created = await client.live.create(
            session={"model": "gpt-live-1"},
            transport={"type": "webrtc", "sdp": await peer.offer()},
        )
        assert created.transport.type == "webrtc"
        await peer.take(created.session.id, created.transport.sdp)
        started = SessionStartedEvent.model_validate(await peer.wait("session.started"))
        assert started.session.id == created.session.id
        word = await peer.wait("session.output_transcript.delta")
        assert OutputTranscriptDeltaEvent.model_validate(word).delta == " line0"
        await client.live.sessions.hangup(created.session.id)
        closed = SessionClosedEvent.model_validate(await peer.wait("session.closed"))
        assert closed.reason == "close_requested" and closed.usage.seconds > 0
    await ended(gateway)


async def test_dropped_peers_leave_nothing(gateway: GatewayProcess) -> None:
    await ended(gateway)
    async with WebPeer(gateway.url, gateway.key) as peer:
        await peer.call()  # whatever is opened once and kept is open now
    await ended(gateway)
    num_files = gateway.num_open_files
    async with WebPeer(gateway.url, gateway.key) as silent:
        offer = await silent.offer()
        statuses = await asyncio.gather(*[_drop(gateway, offer, number) for number in range(42)])
    assert statuses == [201] * 42
    await ended(gateway)
    before = len(gateway.events("call_ended"))
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(_vanish(gateway))
    await ended(gateway)
    reasons = [event["reason"] for event in gateway.events("call_ended")[before:]]
    assert reasons == ["media_lost"] * 8
    await _settles(lambda: gateway.num_open_files <= num_files)
    assert gateway.metric("offhook_calls_total") >= 50


async def _drop(gateway: GatewayProcess, offer: str, number: int) -> int:
    """Ask for a session and never connect; slots are waited for."""
    body = {"session": {"model": "offhook"}, "transport": {"type": "webrtc", "sdp": offer}}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {gateway.key}"}) as http:
        while True:
            async with http.post(f"{gateway.url}/v1/live/sessions", json=body) as got:
                if got.status != 503:
                    return got.status
                error = (await got.json())["error"]
                assert error["code"] == "no_free_slot" and got.headers["Retry-After"] == "5"
            await asyncio.sleep(0.2)


async def _call(peer: WebPeer) -> None:
    """Call; a slot's lease is given back a moment after its call is no longer counted."""
    async with asyncio.timeout(5):
        while True:
            try:
                await peer.call()
                return
            except WorkerUnavailable as error:
                if "no_free_slot" not in str(error):
                    raise
            await asyncio.sleep(0.1)


async def _vanish(gateway: GatewayProcess) -> None:
    async with WebPeer(gateway.url, gateway.key) as peer:
        await _call(peer)
        peer.vanish()


async def _settles(is_so: Any) -> None:
    for _ in range(100):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it does not come to rest")


REFUSED = [
    (b"{", 400, "invalid_json", None),
    (b"[]", 400, "invalid_json", None),
    (b"{}", 400, "missing_required_parameter", "session"),
    ({"transport": {"type": "sip", "sdp": "v=0"}}, 400, "invalid_value", "transport.type"),
    ({"transport": {"type": "webrtc", "sdp": "v=0"}}, 400, "invalid_offer", "transport.sdp"),
    ({"session": {"model": "gpt-9"}}, 400, "model_not_found", "session.model"),
    ({"session": {"model": "offhook", "volume": 3}}, 400, "unknown_parameter", "session.volume"),
    ({"session": {"model": "offhook", "store": True}}, 400, "unsupported_value", "session.store"),
    (b"x" * 200_000, 413, "request_too_large", None),
]


@pytest.mark.parametrize(("body", "status", "code", "param"), REFUSED, ids=lambda value: str(value)[:40])
async def test_a_request_that_is_wrong_is_told_what_is_wrong(
    gateway: GatewayProcess, body: Any, status: int, code: str, param: str | None
) -> None:
    right = {"session": {"model": "offhook"}, "transport": {"type": "webrtc", "sdp": "v=0"}}
    raw = body if isinstance(body, bytes) else json.dumps({**right, **body}).encode()
    url = f"{gateway.url}/v1/live/sessions"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {gateway.key}"}) as http,
        http.post(url, data=raw) as got,
    ):
        error = (await got.json())["error"]
        assert (got.status, error["code"], error["param"]) == (status, code, param)
        assert error["type"] == "invalid_request_error" and error["message"].endswith(".")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = (
    st.text(max_size=200)
    | st.binary(max_size=200)
    | JSON.map(json.dumps)
    | st.dictionaries(st.sampled_from(["type", "event_id", "session", "audio"]), JSON).map(json.dumps)
)


async def test_whatever_comes_on_the_channel_is_answered_with_an_error(gateway: GatewayProcess) -> None:
    messages: list[str | bytes] = ["x" * (MAX_MESSAGE_CHARS + 1)]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(MESSAGES)
    def collect(message: str | bytes) -> None:
        messages.append(message)

    collect()  # before the call, in which our sound must not pause
    async with WebPeer(gateway.url, gateway.key) as peer:
        await _call(peer)
        for message in messages:
            peer.channel.send(message)
        for _ in messages:
            error = (await peer.wait("error"))["error"]
            assert error["type"] == "invalid_request_error" and error["code"] and error["message"]
        peer.send("session.update", event_id="u1", session={})
        refused = await peer.wait("error")
        assert refused["error"]["code"] == "unsupported_event"
        assert refused["error"]["client_event_id"] == refused["client_event_id"] == "u1"
        peer.send("session.close")
        await peer.wait("session.closed")
    await ended(gateway)
