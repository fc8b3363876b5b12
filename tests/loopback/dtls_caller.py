"""A caller on bare sockets who offers keys by DTLS in either role, and answers packets only when told to."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from tests.loopback.certificates import Authority

MTU = 1500
WAIT_S = 5.0


def is_handshake(datagram: bytes) -> bool:
    """Whether it is DTLS (RFC 5764 section 5.1.2)."""
    return 20 <= datagram[0] < 64


class DtlsCaller:
    """A context manager: one call to `port` of 127.0.0.1."""

    def __init__(self, folder: Path, port: int) -> None:
        self._there = "127.0.0.1", port
        self._sip, self.rtp = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        certificate, key = Authority(folder, "callers").issue("caller")
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        context.set_verify(SSL.VERIFY_NONE)
        self._dtls = SSL.Connection(context)
        self._dtls.set_connect_state()
        digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256())
        self._fingerprint = ":".join(f"{byte:02X}" for byte in digest)

    def __enter__(self) -> Self:
        for one in (self._sip, self.rtp):
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sip.close()
        self.rtp.close()

    async def invite(self) -> None:
        """Send the offer."""
        offer = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self.rtp.getsockname()[1]} UDP/TLS/RTP/SAVP 0\r\na=setup:actpass\r\n"
            f"a=fingerprint:SHA-256 {self._fingerprint}\r\n"
        )
        head = self._head("INVITE", "To: <sip:order@127.0.0.1>", "Content-Type: application/sdp")
        await self._send(f"{head}Content-Length: {len(offer)}\r\n\r\n{offer}")

    async def answer(self) -> str:
        """The 200, after it was acknowledged."""
        reply = await self._receive("SIP/2.0 200")
        to = next(line for line in reply.split("\r\n") if line.startswith("To:"))
        await self._send(self._head("ACK", to) + "Content-Length: 0\r\n\r\n")
        return reply

    async def hung_up(self) -> None:
        """Take the BYE."""
        bye = await self._receive("BYE")
        names = ("Via", "From", "To", "Call-ID", "CSeq")
        kept = [line for line in bye.split("\r\n") if line.partition(":")[0] in names]
        await self._send("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0\r\n\r\n"]))

    async def begin(self, media_port: int) -> None:
        """Send the first flight of the handshake."""
        self.rtp.connect(("127.0.0.1", media_port))
        self._step()

    async def flight(self) -> list[bytes]:
        """The handshake's datagrams that come next, until 0.2 s of silence or sound; not looked at."""
        loop, found = asyncio.get_running_loop(), []
        try:
            async with asyncio.timeout(WAIT_S) as limit:
                while is_handshake(datagram := await loop.sock_recv(self.rtp, 4 * MTU)):
                    found.append(datagram)
                    limit.reschedule(loop.time() + 0.2)
        except TimeoutError:
            pass
        return found

    def take(self, flight: list[bytes]) -> bool:
        """Look at these datagrams and answer; True once the handshake is over."""
        for datagram in flight:
            self._dtls.bio_write(datagram)
            if self._step():
                return True
        return False

    def _step(self) -> bool:
        try:
            self._dtls.do_handshake()
            is_over = True
        except SSL.WantReadError:
            is_over = False
        while True:
            try:
                self.rtp.send(self._dtls.bio_read(MTU))
            except SSL.WantReadError:
                return is_over

    def _head(self, method: str, to: str, *more: str) -> str:
        here = f"127.0.0.1:{self._sip.getsockname()[1]}"
        lines = [
            f"{method} sip:order@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{method}",
            "From: <sip:pbx@127.0.0.1>;tag=1",
            to,
            "Call-ID: dtls-1",
            f"CSeq: 1 {method}",
            f"Contact: <sip:pbx@{here}>",
            "Max-Forwards: 9",
            *more,
        ]
        return "".join(f"{line}\r\n" for line in lines)

    async def _send(self, text: str) -> None:
        await asyncio.get_running_loop().sock_sendto(self._sip, text.encode(), self._there)

    async def _receive(self, beginning: str) -> str:
        async with asyncio.timeout(WAIT_S):
            while True:
                text = (await asyncio.get_running_loop().sock_recv(self._sip, 8000)).decode()
                if text.startswith(beginning):
                    return text
