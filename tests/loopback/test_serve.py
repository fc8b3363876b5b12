"""Real phones call `offhook serve`, with the stand-in engine in its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bench_gateway import GatewayProcess
from agent.standin import line_hz
from tests.loopback.baresip import CODECS, Network, baresip_call
from tests.loopback.sipp import (
    Sipp,
    answered,
    ended,
    expect,
    maybe,
    offer,
    pause,
    raw_file,
    send,
    stream,
)
from tests.loopback.tap import Tap
from tests.signals import Pcm, find_tone, tone

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]
STANDIN = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_WORKER__SLOTS": "2"}


@pytest.fixture(scope="module")
def serving() -> Iterator[GatewayProcess]:
    """A gateway on loopback."""
    with GatewayProcess(STANDIN) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def serving_outside(network: Network) -> Iterator[GatewayProcess]:
    """A gateway on a real network address, with an allow-list."""
    outside = {"OFFHOOK_SIP__BIND_ADDRESS": network.gateway, "OFFHOOK_SIP__ALLOWED_PEERS": network.cidr}
    with GatewayProcess({**STANDIN, **outside}) as gateway:
        yield gateway


def assert_conversation(heard: Pcm, rate: int) -> None:
    """The greeting comes first; line 1, at another pitch, answers what the caller said."""
    greeting, answer = heard[rate // 4 : rate], heard[int(2.3 * rate) :]
    assert find_tone(greeting, rate) == pytest.approx(line_hz(0), abs=10)
    assert find_tone(answer, rate) == pytest.approx(line_hz(1), abs=10)


def turn(rate: int) -> Pcm:
    """0.9 s of the caller's speech, after the greeting is over, then silence."""
    pcm = tone(700, 5.0, rate, amplitude=0.3)
    pcm[: int(1.2 * rate)] = pcm[int(2.1 * rate) :] = 0.0
    return pcm


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_sipp_is_greeted_and_answered(serving: GatewayProcess, tmp_path: Path, codec: str) -> None:
    file = raw_file(tmp_path / "said.raw", turn(8_000), codec)
    steps = [*answered(codec), stream(file, codec), pause(4.5), *ended()]
    with Tap() as tap:
        sipp = Sipp(tmp_path, steps, serving.sip_port)
        sipp.run()
    assert_conversation(tap.heard_at(sipp.media_port, codec), 8_000)
    serving.wait_until_idle()


def test_sipp_is_refused_with_503_while_every_slot_is_taken(serving: GatewayProcess, tmp_path: Path) -> None:
    serving.wait_until_idle()
    talking = [*answered(), pause(3.0), *ended()]
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    invite = send("INVITE", 1, offer("PCMU"))
    refused = [invite, maybe(100), expect(503, "Retry-After:", "[0-9]+"), send("ACK", 1)]
    with Sipp(folders[0], talking, serving.sip_port), Sipp(folders[1], talking, serving.sip_port):
        wait_for_both(serving)
        Sipp(tmp_path, refused, serving.sip_port).run()
    serving.wait_until_idle()


def wait_for_both(serving: GatewayProcess) -> None:
    """Return when two calls are up."""
    deadline = time.monotonic() + 10
    while serving.metric("offhook_calls_active") < 2:
        assert time.monotonic() < deadline, serving.log
        time.sleep(0.05)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_baresip_is_greeted_and_answered(
    network: Network, serving_outside: GatewayProcess, tmp_path: Path, codec: str
) -> None:
    rate = CODECS[codec][1]
    uri = f"sip:order@{network.gateway}:{serving_outside.sip_port}"
    heard = baresip_call(network, tmp_path, uri=uri, codec=codec, said=turn(rate), seconds=5)
    assert_conversation(heard.heard, rate)
    serving_outside.wait_until_idle()
