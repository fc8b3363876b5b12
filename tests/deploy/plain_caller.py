"""A SIP caller of a few datagrams, with no library between the test and the wire (RFC 3261, UDP)."""

import asyncio
import secrets
import socket
from typing import Self

TIMEOUT_S = 8.0
RESEND_S = 0.5  # T1


class Message:
    """A response or request as it came."""

    def __init__(self, packet: bytes) -> None:
        head, _, self.body = packet.decode().partition("\r\n\r\n")
        self.first, *lines = head.split("\r\n")
        self._headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]

    @property
    def status(self) -> int:
        """The status code of a response."""
        return int(self.first.split()[1])

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for key, value in self._headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of a header that comes once."""
        (value,) = self.all(name)
        return value


class PlainCall:
    """One call through `server`; `place`, then `end`."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._call_id, self._tag = secrets.token_hex(8), secrets.token_hex(4)
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._here = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._uri = f"sip:order@{server[0]}:{server[1]}"
        self._answer: Message | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def options(self) -> Message:
        """Ask whether calls are taken."""
        return await self._asked("OPTIONS", self._uri, 1, f"<{self._uri}>")

    async def place(self) -> Message:
        """Call; the final response, acknowledged."""
        port = self._socket.getsockname()[1]
        offer = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        answer = await self._asked("INVITE", self._uri, 1, f"<{self._uri}>", body=offer)
        if answer.status == 200:
            self._answer = answer
            await self._send(self._in_dialog("ACK", 1))
        return answer

    @property
    def contact(self) -> str:
        """Who answered, as a URI."""
        assert self._answer is not None
        return self._answer.one("Contact").partition("<")[2].partition(">")[0]

    async def end(self) -> Message:
        """Hang up; the response."""
        return await self._answered(self._in_dialog("BYE", 2), "2 BYE")

    def _in_dialog(self, method: str, number: int) -> bytes:
        assert self._answer is not None
        routes = "".join(f"Route: {one}\r\n" for one in reversed(self._answer.all("Record-Route")))
        return self._request(method, self.contact, number, self._answer.one("To"), routes)

    async def _asked(self, method: str, uri: str, number: int, to: str, body: str = "") -> Message:
        return await self._answered(self._request(method, uri, number, to, body=body), f"{number} {method}")

    def _request(
        self, method: str, uri: str, number: int, to: str, routes: str = "", body: str = ""
    ) -> bytes:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self._here};branch=z9hG4bK{secrets.token_hex(8)}\r\n"
            f"Max-Forwards: 70\r\n{routes}From: <sip:caller@{self._here}>;tag={self._tag}\r\nTo: {to}\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {number} {method}\r\nContact: <sip:caller@{self._here}>\r\n"
            f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    async def _send(self, packet: bytes) -> None:
        await self._loop.sock_sendto(self._socket, packet, self._server)

    async def _answered(self, packet: bytes, sequence: str) -> Message:
        """Send until there is some response, then wait for the final one; RTP comes in between."""
        is_heard = False
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                if not is_heard:
                    await self._send(packet)
                try:
                    async with asyncio.timeout(TIMEOUT_S if is_heard else RESEND_S):
                        message = await self._response(sequence)
                except TimeoutError:
                    if is_heard:
                        raise
                    continue
                is_heard = True
                if message.status >= 200:
                    return message

    async def _response(self, sequence: str) -> Message:
        while True:
            packet = await self._loop.sock_recv(self._socket, 65_535)
            if packet.startswith(b"SIP/2.0 "):
                message = Message(packet)
                if message.one("CSeq") == sequence:
                    return message
