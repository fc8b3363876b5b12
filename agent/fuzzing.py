"""Broken SIP, SDP, RTP, RTCP and DTMF packets without end, from a seed; no I/O here.

Three ways to a packet: a message by a loose grammar whose values are often extreme, a good one that is then
damaged, and bytes by chance. The same seed makes the same packets, but for the fresh tags of a torture case.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from agent.torture import CASES, Place, request

NUMBERS = (0, 1, -1, 5, 100, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 10**40)
METHODS = (
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "REFER",
    "NOTIFY",
    "UPDATE",
    "PRACK",
    "INFO",
)
HEADERS = (
    *("Via", "v", "From", "f", "To", "t", "Call-ID", "i", "CSeq", "Contact", "m", "Max-Forwards", "Route"),
    *("Record-Route", "Require", "Supported", "k", "Content-Type", "c", "Content-Length", "l", "Expires"),
    *("Session-Expires", "Min-SE", "Replaces", "Refer-To", "Authorization", "WWW-Authenticate", "Event"),
    *("Accept", "Allow", "Date", "Retry-After", "RAck", "RSeq", "Warning", "Identity", "P-Asserted-Identity"),
)
PIECES = (
    *(
        "sip:",
        "sips:",
        "tel:",
        "@",
        "<",
        ">",
        '"',
        "\\",
        ";",
        "=",
        ",",
        "?",
        "&",
        "%00",
        "%",
        ":",
        "[",
        "]",
        "::1",
    ),
    *(
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        ";tag=",
        ";branch=z9hG4bK",
        ";rport",
        ";lr",
        "SIP/2.0/UDP",
        "*",
    ),
    *(
        "Digest ",
        'realm="',
        "nonce=",
        "application/sdp",
        "\r\n ",
        "\t",
        " ",
        "\x00",
        "\x7f",
        "\xe9",
        "\u96fb",
        "",
    ),
)
SDP_LINES: tuple[Callable[[Fuzzer], str], ...] = (
    lambda f: f"v={f.number()}",
    lambda f: f"o=- {f.number()} {f.number()} IN IP4 {f.host()}",
    lambda f: f"s={f.text()}",
    lambda f: f"c=IN IP{f.pick('4', '6', '5')} {f.host()}",
    lambda f: f"t={f.number()} {f.number()}",
    lambda f: f"m={f.pick('audio', 'video', 'text', f.text())} {f.number()} {f.profile()} {f.types()}",
    lambda f: f"a=rtpmap:{f.number()} {f.pick('PCMU', 'opus', f.text())}/{f.number()}/{f.number()}",
    lambda f: f"a=fmtp:{f.number()} {f.text()}",
    lambda f: f"a={f.pick('sendrecv', 'sendonly', 'inactive', 'rtcp-mux', 'setup:actpass', f.text())}",
    lambda f: f"a=ptime:{f.number()}",
    lambda f: f"a=rtcp:{f.number()} IN IP4 {f.host()}",
    lambda f: f"a=ssrc:{f.number()} cname:{f.text()}",
    lambda f: f"a=crypto:{f.number()} AES_CM_128_HMAC_SHA1_80 inline:{f.text()}",
    lambda f: f"a=candidate:{f.number()} 1 UDP {f.number()} {f.host()} {f.number()} typ host",
    lambda f: f"b=AS:{f.number()}",
)


class Fuzzer:
    """Packets one after the other."""

    def __init__(self, seed: int, place: Place) -> None:
        self._dice, self._place = random.Random(seed), place

    # Values.

    def pick(self, *choices: str) -> str:
        """One of them."""
        return self._dice.choice(choices)

    def number(self) -> int:
        """A number, often extreme."""
        return self._dice.choice(NUMBERS) if self._dice.random() < 0.5 else self._dice.randrange(70_000)

    def host(self) -> str:
        """An address, often none."""
        return self.pick("127.0.0.1", "0.0.0.0", "::", "[::1", "256.1.1.1", "224.0.0.1", self.text())

    def text(self) -> str:
        """Pieces of SIP in a row, now and then far too long."""
        size = (
            self._dice.choice((0, 1, 2, 3, 8, 300)) if self._dice.random() < 0.2 else self._dice.randrange(6)
        )
        return "".join(self._dice.choices(PIECES, k=size))

    def profile(self) -> str:
        """An RTP profile."""
        return self.pick("RTP/AVP", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", self.text())

    def types(self) -> str:
        """Payload types, up to very many."""
        return " ".join(str(self.number()) for _ in range(self._dice.choice((0, 1, 2, 5, 300))))

    # Packets.

    def sip(self) -> bytes:
        """One SIP packet."""
        make = self._dice.choice(
            (self._by_grammar, self._damaged, self._damaged, self._with_sdp, self._by_chance)
        )
        return make()[:65_000]

    def rtp(self) -> bytes:
        """One packet for an RTP port: RTP, RFC 4733 events, or neither."""
        dice = self._dice
        if dice.random() < 0.1:
            return self._by_chance()[:1400]
        first, second = (
            dice.choice((0x80, dice.randrange(256))),
            dice.choice((0, 8, 9, 101, dice.randrange(256))),
        )
        ssrc, stamp = dice.choice((7, dice.randrange(2**32))), dice.randrange(2**32)
        head = struct.pack("!BBHII", first, second, dice.randrange(65_536), stamp, ssrc)
        if second == 101:
            event = struct.pack("!BBH", dice.randrange(256), dice.randrange(256), dice.randrange(65_536))
            return head + event[: dice.randrange(5)] + dice.randbytes(dice.choice((0, 0, 4)))
        return head + dice.randbytes(dice.choice((0, 1, 160, 320, dice.randrange(1400))))

    def rtcp(self) -> bytes:
        """One packet for an RTCP port, often of several reports whose lengths are wrong."""
        dice, packet = self._dice, b""
        for _ in range(dice.randrange(1, 5)):
            kind, words = dice.randrange(199, 211), dice.choice((0, 1, 6, 12, 65_535, dice.randrange(30)))
            packet += struct.pack("!BBHI", 0x80 | dice.randrange(32), kind, words, dice.randrange(2**32))
            packet += dice.randbytes(4 * min(words, dice.randrange(30)))
        return packet

    def _first_line(self) -> str:
        if self._dice.random() < 0.25:
            return f"SIP/2.0 {self.number()} {self.text()}"
        uri = self.pick(self._place.uri, "sip:" + self.text(), self.text())
        return f"{self.pick(*METHODS, self.text())} {uri} SIP/{self.pick('2.0', '2.0', '7.0', self.text())}"

    def _by_grammar(self) -> bytes:
        lines = [self._first_line()]
        for _ in range(self._dice.choice((1, 8, 8, 8, 20, 150))):
            value = f"{self.number()} {self.pick(*METHODS)}" if self._dice.random() < 0.3 else self.text()
            lines.append(f"{self.pick(*HEADERS, self.text())}{self.pick(':', ' : ', '')}{value}")
        return ("\r\n".join(lines) + "\r\n\r\n" + self.pick("", self._sdp())).encode("utf-8", "replace")

    def _sdp(self) -> str:
        makers = self._dice.choices(SDP_LINES, k=self._dice.choice((1, 6, 12, 60)))
        ordered = [SDP_LINES[0], *SDP_LINES[1:6]] if self._dice.random() < 0.6 else []
        return "".join(make(self) + "\r\n" for make in (*ordered, *makers))

    def _with_sdp(self) -> bytes:
        return request(self._place, self.pick("INVITE", "INVITE", "UPDATE", "ACK"), body=self._sdp())

    def _damaged(self) -> bytes:
        packet = self._dice.choice(CASES).build(self._place)
        for _ in range(self._dice.choice((1, 1, 2, 5, 20))):
            packet = self._damage(packet)
        return packet

    def _damage(self, packet: bytes) -> bytes:
        dice = self._dice
        at, size = dice.randrange(len(packet) + 1), dice.choice((1, 1, 4, 40))
        match dice.randrange(7):
            case 0:
                return packet[:at] + dice.randbytes(size) + packet[at + size :]
            case 1:
                return packet[:at] + packet[at + size :]
            case 2:
                return packet[:at] + packet[at : at + size] * dice.choice((2, 3, 200)) + packet[at + size :]
            case 3:
                return packet[:at] + self.text().encode("utf-8", "replace") + packet[at:]
            case 4:
                lines = packet.split(b"\r\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(lines))
                return b"\r\n".join(lines)
            case 5:
                lines = packet.split(b"\r\n")
                dice.shuffle(lines)
                return b"\r\n".join(lines)
            case _:
                return packet[:at]

    def _by_chance(self) -> bytes:
        return self._dice.randbytes(self._dice.choice((0, 1, 40, 400, 1400, 9000)))
