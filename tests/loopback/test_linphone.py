"""linphone, registered with a server, is called through it and calls us; both ends hear the other."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, EndpointEventKind
from telephony.settings import SipSettings
from telephony.sip import SipEndpoint, SipGateway
from tests.loopback.kamailio import USER, Kamailio
from tests.loopback.linphone import RATE_HZ, Linphone
from tests.loopback.test_trunks import ended, invited
from tests.signals import find_tone, tone

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(60)]

SETTINGS = SipSettings(
    port=0,
    max_calls=2,
    codecs=("opus", "PCMU"),
    rtp_port_min=31_000,
    rtp_port_max=31_099,
    outbound_enabled=True,
)
OURS_HZ, THEIRS_HZ = 500.0, 800.0
FRAMES = 14  # 1.1 s


async def talk(endpoint: SipEndpoint) -> float:
    """Play our tone, and tell which one is heard: linphone takes a moment to begin."""
    said, heard = tone(OURS_HZ, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 0.3), []
    latest_hz = 0.0
    async with asyncio.timeout(10):
        async for frame in endpoint.frames():
            endpoint.send(said)
            heard.append(frame)
            latest_hz = find_tone(np.concatenate(heard[-6:]), SAMPLE_RATE_HZ) or latest_hz
            if latest_hz and len(heard) >= FRAMES:
                break
    return latest_hz


async def pressed(endpoint: SipEndpoint) -> str:
    """The next digit."""
    async with asyncio.timeout(5):
        async for event in endpoint.events():
            if event.kind is EndpointEventKind.DTMF:
                return event.digit
    raise AssertionError("the call ended without a digit")


def assert_heard(phone: Linphone) -> None:
    """What the phone recorded last was our tone."""
    sound, rate = phone.heard()
    loud = np.flatnonzero(np.abs(sound) > 0.05)
    assert len(loud), f"silence: {phone.log}"
    middle = int(loud[len(loud) // 2])
    assert find_tone(sound[middle - rate // 5 : middle + rate // 5], rate) == pytest.approx(OURS_HZ, abs=5)


async def test_linphone_is_reached_by_its_registration_and_reaches_us(tmp_path: Path) -> None:
    said = tone(THEIRS_HZ, 5.0, RATE_HZ, amplitude=0.3)
    with Kamailio(tmp_path, expires_s=60) as registrar, Linphone(tmp_path, said, registrar.port) as phone:
        async with SipGateway(SETTINGS) as gateway:
            await asyncio.to_thread(registrar.wait_saved, 1)
            phone.take_only("PCMU")
            endpoint = await gateway.call(f"sip:{USER}@{registrar.address}")
            assert endpoint.stats().codec.startswith("PCMU")
            assert await talk(endpoint) == pytest.approx(THEIRS_HZ, abs=2)
            phone.tell("5")
            assert await pressed(endpoint) == "5"
            endpoint.hang_up()
            await asyncio.to_thread(assert_heard, phone)

            phone.take_only("opus")
            phone.tell(f"call sip:order@127.0.0.1:{gateway.udp_port}")
            invite = await invited(gateway)
            assert USER in invite.caller
            endpoint = await invite.answer()
            assert endpoint.stats().codec.startswith("opus")
            assert await talk(endpoint) == pytest.approx(THEIRS_HZ, abs=2)
            phone.tell("#")
            assert await pressed(endpoint) == "#"
            phone.tell("terminate")
            assert await ended(endpoint) == 200
            await asyncio.to_thread(assert_heard, phone)
