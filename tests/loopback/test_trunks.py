"""Trunks against a real registrar and proxy: registration, failover, calls both ways, digest, reload."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, EndpointEventKind
from telephony.errors import CallRefused, TelephonyError
from telephony.registration import RegistrationResult
from telephony.settings import SipSettings
from telephony.sip import IncomingSipCall, SipEndpoint, SipGateway
from telephony.sip_trunks import MAX_ACCOUNTS
from telephony.trunks import Trunk
from tests.loopback.kamailio import PROVED, REALM, SECRET, USER, Kamailio
from tests.signals import find_tone, tone

pytestmark = pytest.mark.loopback

SETTINGS = SipSettings(port=0, max_calls=4, rtp_port_min=30_000, rtp_port_max=30_099, outbound_enabled=True)
LOOPBACK = ["127.0.0.0/8"]
ENVIRON = {"RIGHT": SECRET, "WRONG": "guess"}


def trunk(**values: Any) -> Trunk:
    return Trunk.model_validate({"peers": LOOPBACK} | values, context={"environ": ENVIRON})


def credentials(user: str = USER, variable: str = "RIGHT") -> dict[str, Any]:
    return {"user": user, "password": {"env": variable}}


class Told:
    """What the gateway says of its registrations."""

    def __init__(self) -> None:
        self.all: list[tuple[str, bool, RegistrationResult]] = []

    def __call__(self, *what: Any) -> None:
        self.all.append(what)

    async def until(self, is_so: Callable[[list[Any]], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so(self.all):  # noqa: ASYNC110  # the list is appended to by a callback
                await asyncio.sleep(0.02)


async def invited(gateway: SipGateway) -> IncomingSipCall:
    async with asyncio.timeout(10):
        async for invite in gateway.incoming():
            return invite
    raise AssertionError("the gateway stopped")


async def heard_hz(endpoint: SipEndpoint, other: SipEndpoint, hz: float) -> float:
    """The tone that one end hears while the other plays it."""
    sound, heard = tone(hz, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 0.3), []
    async with asyncio.timeout(10):
        async for frame in endpoint.frames():
            other.send(sound)
            heard.append(frame)
            if len(heard) == 14:
                break
    return find_tone(np.concatenate(heard[-8:]), SAMPLE_RATE_HZ)


async def ended(endpoint: SipEndpoint) -> int:
    async with asyncio.timeout(10):
        async for event in endpoint.events():
            if event.kind is EndpointEventKind.ENDED:
                return event.code
    raise AssertionError("no end")


async def test_a_registration_is_refreshed_moves_when_its_server_dies_and_carries_calls(
    tmp_path: Path,
) -> None:
    told = Told()
    with Kamailio(tmp_path) as first, Kamailio(tmp_path, algorithm="MD5") as second:
        carrier = trunk(
            servers=[first.address, second.address],
            transport="tcp",
            user=USER,
            domain=REALM,
            credentials=credentials(),
            registration={"expires_s": 60, "retry_s": 1},
        )
        async with SipGateway(SETTINGS, trunks={"carrier": carrier}, on_registered=told) as gateway:
            await told.until(lambda all: all.count(("carrier", True, RegistrationResult.OK)) >= 2)
            assert all("expires=60 algorithm=SHA-256" in line for line in first.saved()), first.log()

            uri = f"sip:{PROVED}@{first.address};transport=tcp"
            calling = asyncio.create_task(gateway.call(uri, trunk="carrier"))
            invite = await invited(gateway)
            assert (invite.trunk, invite.source) == ("carrier", "127.0.0.1")
            callee, caller = await invite.answer(), await calling
            assert await heard_hz(callee, caller, 500.0) == pytest.approx(500, abs=2)

            await asyncio.to_thread(first.kill)
            await told.until(lambda all: all[-1] == ("carrier", True, RegistrationResult.OK) and
                             ("carrier", False, RegistrationResult.UNREACHABLE) in all)  # fmt: skip
            await asyncio.to_thread(second.wait_saved, 1)
            assert "algorithm=MD5" in second.saved()[0]
            assert caller.ended is None, "a call does not depend on its registrar"
            gateway.drain()
            await asyncio.to_thread(second.wait_saved, 2)
            assert "expires=0" in second.saved()[-1], "we say goodbye"
            assert caller.ended is None, "and the call goes on"


async def test_trunks_come_change_and_go_while_a_call_lives(tmp_path: Path) -> None:
    told = Told()
    with Kamailio(tmp_path) as registrar:
        before, own = trunk(dtmf=["rfc4733"]), {"transport": "tcp", "servers": [registrar.address]}
        wrong = trunk(peers=[], credentials=credentials(USER, "WRONG"), registration={}, user=USER, **own)
        async with SipGateway(SETTINGS, trunks={"old": before}, on_registered=told) as gateway:
            uri = f"sip:order@127.0.0.1:{gateway.udp_port}"
            calling = asyncio.create_task(gateway.call(uri))
            invite = await invited(gateway)
            callee, caller = await invite.answer(), await calling
            assert invite.trunk == "old"

            await gateway.set_trunks({"new": trunk(callers=[credentials("anna")]), "wrong": wrong})
            await told.until(lambda all: ("wrong", False, RegistrationResult.REFUSED) in all)
            assert registrar.saved() == []
            with pytest.raises(CallRefused, match="401"):
                await gateway.call(uri)
            assert await heard_hz(callee, caller, 750.0) == pytest.approx(750, abs=2), "the call goes on"

            await gateway.set_trunks({"elsewhere": trunk(peers=["192.0.2.0/24"])})
            with pytest.raises(TelephonyError, match="there is no trunk 'new'; known: elsewhere"):
                await gateway.call(uri, trunk="new")
            earlier = gateway.counts().gate
            with pytest.raises(TimeoutError):
                await gateway.call(uri, timeout_s=0.7)
            assert gateway.counts().gate.unwanted > earlier.unwanted, "nobody from here may call any more"
            await gateway.set_trunks({"old": before})
            caller.hang_up()
            assert await ended(callee) == 200


async def test_a_registration_that_is_replaced_outlives_the_goodbye_of_the_one_before(tmp_path: Path) -> None:
    with Kamailio(tmp_path, expires_s=600) as registrar:
        about = {"servers": [registrar.address], "user": USER, "domain": REALM, "credentials": credentials()}
        before, after = (trunk(**about, registration={"expires_s": seconds}) for seconds in (60, 90))
        told = Told()
        async with SipGateway(SETTINGS, trunks={"carrier": before}, on_registered=told) as gateway:
            await told.until(lambda all: ("carrier", True, RegistrationResult.OK) in all)
            await gateway.set_trunks({"carrier": after})
            saved = await asyncio.to_thread(registrar.wait_saved, 4)
            assert [line.split()[2] for line in saved] == [
                "expires=60",
                "expires=0",
                "expires=90",
                "expires=90",
            ]


async def test_trunks_that_the_library_cannot_take_change_nothing() -> None:
    proved = trunk(callers=[credentials("anna")])
    many = {f"t{number}": trunk(peers=[], servers=["127.0.0.1:9"]) for number in range(MAX_ACCOUNTS)}
    async with SipGateway(SETTINGS, trunks={"phones": proved}) as gateway:
        changed = proved.model_copy(update={"max_calls": 3})
        with pytest.raises(TelephonyError, match="change fewer at a time"):
            await gateway.set_trunks({**many, "phones": changed})
        with pytest.raises(CallRefused, match="401"):
            await gateway.call(f"sip:order@127.0.0.1:{gateway.udp_port}")


@pytest.mark.parametrize(
    ("user", "variable", "is_right"),
    [("anna", "RIGHT", True), ("anna", "WRONG", False), ("eve", "RIGHT", False)],
)
async def test_callers_prove_themselves_or_all_hear_the_same(
    user: str, variable: str, is_right: bool
) -> None:
    pbx = trunk(callers=[credentials("anna")], credentials=credentials(user, variable))
    async with SipGateway(SETTINGS, trunks={"pbx": pbx}) as gateway:
        uri = f"sip:order@127.0.0.1:{gateway.udp_port}"
        calling = asyncio.create_task(gateway.call(uri, trunk="pbx"))
        if is_right:
            invite = await invited(gateway)
            assert "algorithm=SHA-256" in invite.headers["authorization"]
            endpoint = await invite.answer()
            (await calling).hang_up()
            assert await ended(endpoint) == 200
        else:
            with pytest.raises(CallRefused) as refused:
                await calling
            assert refused.value.status == 401
