"""TLS with certificates of both ends, SRTP by SDES and by DTLS: what is right passes, nothing else."""

import asyncio
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telephony.endpoint import SAMPLE_RATE_HZ
from telephony.errors import CallRefused, SettingsError
from telephony.settings import TlsSettings
from telephony.sip import SipGateway
from tests.loopback.baresip import Network, baresip_call
from tests.loopback.certificates import Authority
from tests.loopback.dtls_caller import DtlsCaller
from tests.loopback.test_trunks import SETTINGS, ended, heard_hz, invited, trunk
from tests.signals import find_tone, tone

pytestmark = pytest.mark.loopback


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    """Ours, by an authority that both ends believe; nobody comes in without a certificate."""
    authority = Authority(tmp_path_factory.mktemp("tls"), "authority")
    certificate, key = authority.issue("gateway")
    return TlsSettings(
        port=0, certificate=certificate, key=key, authorities=authority.file, client_certificates=True
    )


async def call_ourselves(gateway: SipGateway, uri: str, by: str) -> None:
    """A call by this trunk comes in again, both ends hear each other, and it ends well."""
    calling = asyncio.create_task(gateway.call(uri, trunk=by))
    callee = await (await invited(gateway)).answer()
    caller = await calling
    assert await heard_hz(callee, caller, 500.0) == pytest.approx(500, abs=2)
    assert await heard_hz(caller, callee, 750.0) == pytest.approx(750, abs=2)
    assert callee.stats().rx_packets > 50
    caller.hang_up()
    assert await ended(callee) == 200


async def test_sdes_over_tls_with_certificates_of_both_ends(tls: TlsSettings) -> None:
    settings = replace(SETTINGS, transports=("udp", "tls"), tls=tls)
    secure = trunk(transport="tls", srtp="required", srtp_keying=["sdes"])
    async with SipGateway(settings, trunks={"secure": secure}) as gateway:
        await call_ourselves(gateway, f"sip:order@127.0.0.1:{gateway.tls_port};transport=tls", "secure")
        plain = f"sip:order@127.0.0.1:{gateway.udp_port}"
        await gateway.set_trunks({"secure": secure, "plain": trunk(peers=["192.0.2.0/24"])})
        with pytest.raises(CallRefused, match="488"):
            await gateway.call(plain, trunk="plain")


async def test_baresip_calls_with_keys_by_dtls(network: Network, tmp_path: Path) -> None:
    secure = trunk(peers=[network.cidr], srtp="required", srtp_keying=["dtls"])
    settings = replace(SETTINGS, bind_address=network.gateway, allowed_peers=(network.cidr,))
    async with SipGateway(settings, trunks={"phone": secure}) as gateway:
        uri = f"sip:echo@{network.gateway}:{gateway.udp_port}"
        said = tone(500.0, 6.0, 8_000, amplitude=0.2)
        calling = asyncio.create_task(
            asyncio.to_thread(
                baresip_call,
                network,
                tmp_path,
                uri=uri,
                codec="PCMU",
                said=said,
                seconds=4,
                encryption="dtls_srtp",
            )
        )
        endpoint, reached = await (await invited(gateway)).answer(), []
        async for frame in endpoint.frames():
            endpoint.send(frame)
            reached.append(frame)
        heard = await calling
    for sound, rate in ((np.concatenate(reached), SAMPLE_RATE_HZ), (heard.heard, heard.rate)):
        late = sound[-rate:]  # the handshake takes up to a second: keys come with the answer
        assert find_tone(late, rate) == pytest.approx(500, abs=2)
        assert np.sqrt(np.mean(late**2)) == pytest.approx(0.2 / 2**0.5, rel=0.2)


async def test_we_call_ourselves_with_keys_by_dtls() -> None:
    secure = trunk(srtp="required", srtp_keying=["dtls"])
    async with SipGateway(SETTINGS, trunks={"secure": secure}) as gateway:
        calling = asyncio.create_task(gateway.call(f"sip:order@127.0.0.1:{gateway.udp_port}", trunk="secure"))
        callee = await (await invited(gateway)).answer()
        caller = await calling
        # At once: no flight of the handshake is lost or waits. The jitter buffers still look for their depth.
        assert await heard_hz(callee, caller, 500.0) == pytest.approx(500, abs=20)
        assert await heard_hz(caller, callee, 750.0) == pytest.approx(750, abs=20)
        caller.hang_up()
        assert await ended(callee) == 200


async def test_who_offers_either_role_of_dtls_begins_the_handshake_and_a_lost_flight_comes_again(
    tmp_path: Path,
) -> None:
    """Asterisk loses the keys of a handshake that begins while it still waits for the answer."""
    secure = trunk(srtp="required", srtp_keying=["dtls"])
    async with SipGateway(SETTINGS, trunks={"pbx": secure}) as gateway:
        with DtlsCaller(tmp_path, gateway.udp_port) as caller:
            await caller.invite()
            answering = asyncio.create_task((await invited(gateway)).answer())
            answer = await caller.answer()
            assert "a=setup:passive" in answer and "UDP/TLS/RTP/SAVP" in answer
            endpoint = await answering
            await asyncio.sleep(0.2)
            with pytest.raises(BlockingIOError):
                caller.rtp.recv(4000)
            await caller.begin(int(re.findall(r"m=audio (\d+)", answer)[0]))
            lost = await caller.flight()
            again = await caller.flight()  # after a second (RFC 6347 section 4.2.4.1)
            assert lost and again and all(len(datagram) <= 1500 for datagram in (*lost, *again))
            is_over = caller.take(again)
            while not is_over:
                flight = await caller.flight()
                assert flight, "the handshake does not come to an end"
                is_over = caller.take(flight)
            endpoint.hang_up()
            await caller.hung_up()
            assert await ended(endpoint) == 200


async def test_a_server_that_nobody_vouches_for_gets_no_call(tls: TlsSettings, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    settings = replace(SETTINGS, transports=("tls",), tls=replace(tls, authorities=other.file))
    async with SipGateway(settings, trunks={"tls": trunk(transport="tls")}) as gateway:
        with pytest.raises(CallRefused, match=r"50[23]"):
            await gateway.call(f"sip:order@127.0.0.1:{gateway.tls_port};transport=tls", trunk="tls")


async def _handshake(port: int, context: ssl.SSLContext) -> bytes:
    """What the server says first to an OPTIONS, b"" if it hangs up instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(
            b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:1;branch=z9hG4bKx\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: tls-1\r\nCSeq: 1 OPTIONS\r\n"
            b"Max-Forwards: 9\r\nContent-Length: 0\r\n\r\n"
        )
        return await asyncio.wait_for(reader.read(12), 5)
    finally:
        writer.close()


async def test_who_comes_without_a_certificate_or_with_a_stranger_s_is_not_heard(
    tls: TlsSettings, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger")
    settings = replace(SETTINGS, transports=("tls",), tls=tls)
    async with SipGateway(settings, trunks={"tls": trunk(transport="tls")}) as gateway:
        answers: list[Any] = []
        for certificate in ((tls.certificate, tls.key), None, stranger):
            context = ssl.create_default_context(cafile=str(tls.authorities))
            if certificate is not None:
                context.load_cert_chain(*map(str, certificate))
            try:
                answers.append(await _handshake(gateway.tls_port, context))
            except (ssl.SSLError, ConnectionError):
                answers.append(b"")
        assert answers == [b"SIP/2.0 200 ", b"", b""]


async def test_a_file_that_is_missing_is_named(tls: TlsSettings, tmp_path: Path) -> None:
    for wrong, words in (
        (replace(tls, key=tmp_path / "none.key"), "tls key=.*none.key cannot be read"),
        (TlsSettings(), "which needs tls certificate and tls key; name two PEM files"),
    ):
        with pytest.raises(SettingsError, match=words):
            await SipGateway(replace(SETTINGS, transports=("tls",), tls=wrong)).start()
