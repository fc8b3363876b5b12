"""A bare SIP user agent for measuring and testing: one socket, one dialog, every message in the open.

It says exactly what it is told to, right or wrong, and shares no code with the gateway's SIP.
Loopback only: it does not retransmit.
"""

from __future__ import annotations

import queue
import re
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from agent.bench_rtp import EVENT_TYPE, PAYLOAD_TYPES
from telephony.errors import CallRefused, MalformedPacket, TelephonyError

RTPMAP = {"PCMU": "0 PCMU/8000", "PCMA": "8 PCMA/8000", "G722": "9 G722/8000", "GSM": "3 GSM/8000"}
PORT_LINE = re.compile(r"^m=audio (\d+) ", re.MULTILINE)
MESSAGES_KEPT = 1000  # then a flood is dropped


@dataclass(frozen=True, slots=True)
class SipMessage:
    """One request or response: its first line, its headers by lower-case name, its body."""

    first_line: str
    headers: dict[str, str]  # of repeated headers, the first
    body: str

    @property
    def status(self) -> int:
        """A response's code; 0 for a request."""
        return int(self.first_line[8:11]) if self.first_line.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """A request's method, or that of the request which a response answers."""
        return self.headers.get("cseq", "").split(" ")[-1]

    @property
    def media_port(self) -> int:
        """The port of the audio line of its SDP; 0 without one."""
        found = PORT_LINE.search(self.body)
        return int(found[1]) if found else 0

    @classmethod
    def parse(cls, raw: bytes) -> SipMessage:
        """Read one whole message. Raises MalformedPacket if it has no SIP first line."""
        head, _, body = raw.decode("utf-8", "replace").partition("\r\n\r\n")
        first_line, *lines = head.split("\r\n")
        if not re.fullmatch(r"SIP/2\.0 [1-6]\d\d .*|[A-Z]+ \S+ SIP/2\.0", first_line):
            raise MalformedPacket(f"{len(raw)} bytes are not a SIP message")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), value.strip())
        return cls(first_line, headers, body)


def sdp(port: int, *codecs: str, address: str = "127.0.0.1", direction: str = "sendrecv") -> str:
    """An audio offer or answer of 20 ms packets with telephone events."""
    maps = [RTPMAP[codec] for codec in codecs or tuple(PAYLOAD_TYPES)]
    numbers = " ".join(line.split(" ")[0] for line in maps)
    lines = [
        "v=0",
        f"o=peer 1 {secrets.randbits(31)} IN IP4 {address}",
        "s=-",
        f"c=IN IP4 {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {numbers} {EVENT_TYPE}",
        *[f"a=rtpmap:{line}" for line in maps],
        f"a=rtpmap:{EVENT_TYPE} telephone-event/8000",
        f"a=fmtp:{EVENT_TYPE} 0-16",
        "a=ptime:20",
        f"a={direction}",
    ]
    return "\r\n".join(lines) + "\r\n"


class SipPeer:
    """One caller: sends what it is told, answers 200 to requests within its call, keeps all it received."""

    def __init__(
        self,
        remote: tuple[str, int],
        *,
        address: str = "127.0.0.1",
        transport: str = "udp",
        user: str = "order",
        caller: str = "peer",
    ) -> None:
        self.remote, self.address, self.transport = remote, address, transport
        self.caller = caller
        self.target = f"sip:{user}@{remote[0]}:{remote[1]}"
        self.call_id = secrets.token_hex(12)
        self.tag, self.branch = secrets.token_hex(6), ""
        self.to, self.cseq, self._contact = f"<{self.target}>", 0, self.target
        self.requests: queue.Queue[SipMessage] = queue.Queue(MESSAGES_KEPT)
        self.responses: queue.Queue[SipMessage] = queue.Queue(MESSAGES_KEPT)
        self.seen: list[SipMessage] = []  # of the provisional answers that `response` passed over
        self._socket = self._open()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="sip-listen", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Our own SIP port."""
        port: int = self._socket.getsockname()[1]
        return port

    def send(
        self, method: str, headers: Mapping[str, str] | None = None, body: str = "", uri: str = ""
    ) -> None:
        """Send a request of our dialog; ACK and CANCEL keep the INVITE's number, CANCEL its branch too."""
        if method not in ("ACK", "CANCEL"):
            self.cseq += 1
        if method != "CANCEL":
            self.branch = "z9hG4bK" + secrets.token_hex(8)
        kind = {"Content-Type": "application/sdp"} if body else {}
        self._write(
            f"{method} {uri or self._contact} SIP/2.0",
            {**self._fields(method), **kind, **(headers or {})},
            body,
        )

    def _fields(self, method: str) -> dict[str, str]:
        return {
            "Via": f"SIP/2.0/{self.transport.upper()} {self.address}:{self.port};branch={self.branch};rport",
            "From": f"<sip:{self.caller}@{self.address}>;tag={self.tag}",
            "To": self.to if method != "CANCEL" else f"<{self.target}>",
            "Call-ID": self.call_id,
            "CSeq": f"{self.cseq} {method}",
            "Contact": f"<sip:peer@{self.address}:{self.port};transport={self.transport}>",
            "Max-Forwards": "70",
        }

    def send_raw(self, raw: bytes) -> None:
        """Send any bytes."""
        if self.transport == "tcp":
            self._socket.sendall(raw)
        else:
            self._socket.sendto(raw, self.remote)

    def response(self, method: str, timeout_s: float = 10.0, provisional: bool = False) -> SipMessage:
        """The next answer to `method`: final, unless `provisional`, when any but 100 will do.

        Raises TelephonyError when none comes in time.
        """
        while True:
            try:
                message = self.responses.get(timeout=timeout_s)
            except queue.Empty:
                raise TelephonyError(f"no answer to {method} in {timeout_s} s from {self.target}") from None
            if message.method == method and message.status >= (101 if provisional else 200):
                return message
            self.seen.append(message)

    def request(self, method: str, timeout_s: float = 10.0) -> SipMessage:
        """The next request of this method that the far end sent; it has been answered with 200 already.

        Raises TelephonyError when none comes in time.
        """
        while True:
            try:
                message = self.requests.get(timeout=timeout_s)
            except queue.Empty:
                raise TelephonyError(f"no {method} in {timeout_s} s from {self.target}") from None
            if message.method == method:
                return message

    def call(
        self, offer: str, headers: Mapping[str, str] | None = None, timeout_s: float = 20.0
    ) -> SipMessage:
        """INVITE with this SDP, then ACK; the 200.

        Raises CallRefused with the final status, TelephonyError when there is none.
        """
        self.send("INVITE", headers, offer)
        answer = self.response("INVITE", timeout_s)
        self.acknowledge(answer)
        if answer.status >= 300:
            again = answer.headers.get("retry-after", "")
            raise CallRefused(answer.status, answer.first_line[12:], int(again) if again.isdigit() else None)
        return answer

    def acknowledge(self, answer: SipMessage, body: str = "") -> None:
        """Send the ACK to a final answer; after a 2xx the dialog is on.

        The ACK to a refusal belongs to the INVITE's own transaction, so it keeps its branch and target
        (RFC 3261 sections 13.2.2.4 and 17.1.1.3).
        """
        self.to = answer.headers.get("to", self.to)
        if answer.status >= 300:
            self._write(f"ACK {self._contact} SIP/2.0", self._fields("ACK"), "")
            return
        found = re.search(r"<([^>]+)>", answer.headers.get("contact", ""))
        self._contact = found[1] if found else self._contact
        self.send("ACK", body=body)

    def hang_up(self, timeout_s: float = 5.0) -> SipMessage:
        """BYE; its answer."""
        self.send("BYE")
        return self.response("BYE", timeout_s)

    def close(self) -> None:
        """Free the socket; no message is sent."""
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def _open(self) -> socket.socket:
        if self.transport == "tcp":
            return socket.create_connection(self.remote, timeout=5.0, source_address=(self.address, 0))
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((self.address, 0))
        return opened

    def _write(self, first_line: str, headers: Mapping[str, str], body: str) -> None:
        lines = [first_line, *[f"{name}: {value}" for name, value in headers.items()]]
        length = len(body.encode())
        self.send_raw(("\r\n".join([*lines, f"Content-Length: {length}"]) + "\r\n\r\n" + body).encode())

    def _listen(self) -> None:
        self._socket.settimeout(0.05)
        waiting = b""
        while not self._closing.is_set():
            try:
                waiting += self._socket.recv(65_535)
            except TimeoutError:
                continue
            except OSError:  # refused or reset: there may be nobody yet
                if self.transport == "tcp":
                    return
                continue
            waiting = self._take(waiting)

    def _take(self, waiting: bytes) -> bytes:
        """Sort the whole messages in these bytes; what is left of an incomplete one (TCP)."""
        while waiting.strip(b"\r\n"):
            head, separator, rest = waiting.lstrip(b"\r\n").partition(b"\r\n\r\n")
            found = re.search(rb"\r\n(?:content-length|l)\s*:\s*(\d+)", head, re.IGNORECASE)
            length = int(found[1]) if found else 0
            if not separator or len(rest) < length:
                return waiting if self.transport == "tcp" else b""
            self._sort(head + separator + rest[:length])
            waiting = rest[length:]
        return b""

    def _sort(self, raw: bytes) -> None:
        try:
            message = SipMessage.parse(raw)
            if message.status:
                self.responses.put_nowait(message)
                return
            self.requests.put_nowait(message)
        except (MalformedPacket, queue.Full):
            return
        if message.method not in ("ACK", "INVITE"):
            self.answer(message, 200, "OK")

    def answer(self, request: SipMessage, status: int, reason: str, body: str = "") -> None:
        """Answer a request that the far end sent."""
        kept = {name: request.headers[name.lower()] for name in ("Via", "From", "Call-ID", "CSeq")}
        to = request.headers["to"]
        fields = {
            **kept,
            "To": to if ";tag=" in to else f"{to};tag={self.tag}",
            "Contact": f"<sip:peer@{self.address}:{self.port};transport={self.transport}>",
            **({"Content-Type": "application/sdp"} if body else {}),
        }
        self._write(f"SIP/2.0 {status} {reason}", fields, body)
