"""One message for each case of RFC 4475 (SIP torture tests), made from its descriptions; no I/O here.

The RFC tells what is odd about each and how an element should take it. Here every message is built anew for
the addresses it goes between, so that an answer, where one is due, comes back; `answers` are the final
statuses that are right for a user agent like ours, which takes calls and nothing else. None in it: silence.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

SILENCE = frozenset[int | None]({None})
REFUSED = frozenset[int | None]({400, None})  # a broken request may be dropped as well
RESPONSES_ARE_NOT_ANSWERED = SILENCE


@dataclass(frozen=True, slots=True)
class Place:
    """Who sends to whom."""

    host: str
    port: int
    to_host: str
    to_port: int
    user: str = "order"

    @classmethod
    def between(cls, own: tuple[str, int], to: tuple[str, int], user: str = "order") -> Place:
        """From one address to the other."""
        return cls(own[0], own[1], to[0], to[1], user)

    @property
    def via(self) -> str:
        """A Via of ours."""
        return f"SIP/2.0/UDP {self.host}:{self.port};rport;branch=z9hG4bK{secrets.token_hex(8)}"

    @property
    def uri(self) -> str:
        """Whom requests are for."""
        return f"sip:{self.user}@{self.to_host}:{self.to_port}"

    @property
    def offer(self) -> str:
        """SDP that could be served."""
        return (
            f"v=0\r\no=- 7 7 IN IP4 {self.host}\r\ns=-\r\nc=IN IP4 {self.host}\r\nt=0 0\r\n"
            "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the RFC's short name, its message, and which final answers are right."""

    name: str
    build: Callable[[Place], bytes]
    answers: frozenset[int | None]


def message(first: str, fields: list[str], body: str | bytes = "", length: str | None = None) -> bytes:
    """A message's bytes; `length` replaces the right Content-Length line."""
    content = body.encode() if isinstance(body, str) else body
    lines = [first, *fields, f"Content-Length: {len(content)}" if length is None else length]
    return "\r\n".join(line for line in lines if line).encode() + b"\r\n\r\n" + content


def fields(place: Place, method: str, **other: str) -> list[str]:
    """The header fields that a request needs; `other` replaces a line by its name, "" leaves it out."""
    lines = {
        "via": f"Via: {place.via}",
        "max_forwards": "Max-Forwards: 70",
        "sender": f"From: <sip:caller@{place.host}>;tag={secrets.token_hex(4)}",
        "to": f"To: <{place.uri}>",
        "call_id": f"Call-ID: {secrets.token_hex(8)}",
        "cseq": f"CSeq: {secrets.randbits(20)} {method}",
        "contact": f"Contact: <sip:caller@{place.host}:{place.port}>",
    }
    return [*{**lines, **other}.values()]


def request(place: Place, method: str = "OPTIONS", *, uri: str = "", body: str = "", **other: str) -> bytes:
    """A request; with a body that is SDP unless `content` says otherwise."""
    kind = {"content": "Content-Type: application/sdp"} if body and "content" not in other else {}
    return message(f"{method} {uri or place.uri} SIP/2.0", fields(place, method, **kind, **other), body)


def response(place: Place, status: str, **other: str) -> bytes:
    """A response to an INVITE that nobody sent."""
    return message(f"SIP/2.0 {status}", fields(place, "INVITE", **other))


def _wsinv(place: Place) -> bytes:
    lines = [
        f"TO :\r\n <{place.uri}>\t;   flag    =   odd",
        f'from   : "\\"Nick\\\\\\" in quotes" <sip:caller@{place.host}>\r\n  ;\r\n  tag    =   torture',
        "mAX-fORWARDS: 0070",
        f"Call-ID: torture.{secrets.token_hex(6)}",
        "CSeq: 0007\r\n  INVITE",
        f"Via  : SIP  /   2.0\r\n /UDP\r\n    {place.host}:{place.port};branch=z9hG4bK{secrets.token_hex(6)}",
        "s :",
        "X-Folded:   begins here\r\n and ends on a line of its own",
        "X-Marks: ,;,;;,",
        "Content-Type: application/sdp",
        f"v:  SIP  / 2.0  / TCP  192.0.2.9  ;\r\n  branch  =   z9hG4bK{secrets.token_hex(4)}",
        f'm:"Two \\"\\" quotes" <sip:caller@{place.host}:{place.port}> ; x =\r\n      y ;\r\n  q = 0.25',
    ]
    first = f"INVITE {place.uri};unheard SIP/2.0"
    return message(first, lines, place.offer, f"l: {len(place.offer)}")


def _intmeth(place: Place) -> bytes:
    method = "-Any.sign%of_a+token*`'~!42"
    uri = f"sip:-_.!~*'()&=+$,;?/a1:&=+$,-_.!~*'()b2@{place.to_host}"
    return request(
        place,
        method,
        uri=uri,
        to=f'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <{place.uri}>',
        sender=f"From: a-.!% b*_+ c`'~ <sip:caller@{place.host}>;p-.!%*_+`'~=\"q'\";tag=t-.!%*_+`'~",
        odd="X-.!%*_+`'~: \ufeff\u96fb\u8a71",
    )


def _escaped(place: Place, user: str, method: str = "OPTIONS", **other: str) -> bytes:
    return request(place, method, uri=f"sip:{user}@{place.to_host}:{place.to_port}", **other)


def _longreq(place: Place) -> bytes:
    long = "long" * 60
    return request(
        place,
        "INVITE",
        to=f'To: "{"name after name " * 20}" <sip:order@{place.to_host}:6000;a={long};b={long}>',
        call_id=f"Call-ID: {secrets.token_hex(4)}.{long}",
        odd=f"Unknown-{long}-Name: unknown-{long}-value; unknown-{long}-parameter={long}",
        body=place.offer,
    )


def _dblreq(place: Place) -> bytes:
    return request(place) + request(place, "INVITE", body=place.offer)


def _mpart01(place: Place) -> bytes:
    edge = "edge-of-a-part"
    part = "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nHello\r\n"
    binary = b"Content-Type: application/octet-stream\r\n\r\n\x00\x01\x02\x80\xff\r\n"
    body = f"--{edge}\r\n{part}--{edge}\r\n".encode() + binary + f"--{edge}--\r\n".encode()
    kind = f"Content-Type: multipart/mixed;boundary={edge}"
    return message(f"MESSAGE {place.uri} SIP/2.0", fields(place, "MESSAGE", content=kind), body)


def _transports(place: Place) -> bytes:
    vias = [f"Via: {place.via}"]
    for number, name in enumerate(("UDP", "SCTP", "TLS", "UNKNOWN", "TCP")):
        vias.append(f"Via: SIP/2.0/{name} t{number}.example.com;branch=z9hG4bK{secrets.token_hex(6)}")
    return request(place, via="\r\n".join(vias))


def _multi01(place: Place) -> bytes:
    return request(
        place,
        "INVITE",
        cseq="CSeq: 5 INVITE\r\nCSeq: 6 BYE",
        call_id="Call-ID: one\r\nCall-ID: two",
        max_forwards="Max-Forwards: 70\r\nMax-Forwards: 5",
        to=f"To: <{place.uri}>\r\nTo: <sip:other@{place.host}>",
        body=place.offer,
    )


def _inv2543(place: Place) -> bytes:
    lines = [
        f"Via: SIP/2.0/UDP {place.host}:{place.port}",
        f"From: <sip:caller@{place.host}>",
        f"To: sip:order@{place.to_host}",
        f"Call-ID: {secrets.token_hex(8)}@{place.host}",
        "CSeq: 10 INVITE",
        "Expires: 180",
        "Accept: application/sdp",
        f"Contact: <sip:caller@{place.host}:{place.port}>",
        "Content-Type: application/sdp",
    ]
    return message(f"INVITE {place.uri} SIP/2.0", lines, place.offer, "")


CALL = frozenset[int | None]({200, 486, 503})  # a call like any other
ANSWERED = CALL | frozenset[int | None]({404, 405, 415, 416, 420, 481, 483, 488, 501, 603})
NO_REGISTRAR = ANSWERED | SILENCE  # what only a registrar could serve may go unanswered
CASES = (
    # 3.1.1 Valid messages
    Case("wsinv", _wsinv, CALL | REFUSED),
    Case("intmeth", _intmeth, ANSWERED | REFUSED),
    Case("esc01", lambda p: _escaped(p, "sips%3Auser%40example.com", "INVITE", body=p.offer), CALL),
    Case("escnull", lambda p: _escaped(p, "null-%00-null", "REGISTER"), ANSWERED | REFUSED),
    Case("esc02", lambda p: request(p, "OPT%49ONS"), ANSWERED | REFUSED),
    Case(
        "lwsdisp", lambda p: request(p, sender=f"From: caller<sip:caller@{p.host}>;tag=1"), frozenset({200})
    ),
    Case("longreq", _longreq, CALL),
    Case("dblreq", _dblreq, frozenset({200})),
    Case("semiuri", lambda p: _escaped(p, "user;par=u%40example.net"), frozenset({200})),
    Case("transports", _transports, frozenset({200})),
    Case("mpart01", _mpart01, ANSWERED),
    Case("unreason", lambda p: response(p, "200 = 10 * 20; \u0434\u0430"), RESPONSES_ARE_NOT_ANSWERED),
    Case("noreason", lambda p: response(p, "100 "), RESPONSES_ARE_NOT_ANSWERED),
    # 3.1.2 Invalid messages
    Case(
        "badinv01",
        lambda p: request(p, "INVITE", via=f"Via: {p.via};;,;,,", contact='Contact: "" <> ;,"', body=p.offer),
        REFUSED,
    ),
    Case(
        "clerr",
        lambda p: message(f"INVITE {p.uri} SIP/2.0", fields(p, "INVITE"), p.offer, "Content-Length: 9999"),
        REFUSED,
    ),
    Case(
        "ncl",
        lambda p: message(f"INVITE {p.uri} SIP/2.0", fields(p, "INVITE"), p.offer, "Content-Length: -999"),
        REFUSED | CALL,
    ),
    Case(
        "scalar02",
        lambda p: request(
            p,
            "REGISTER",
            cseq="CSeq: 99999999999999999999 REGISTER",
            max_forwards="Max-Forwards: 300",
            expires="Expires: 1" + "0" * 40,
            contact=f"Contact: <sip:caller@{p.host}>;expires=999999999999999",
        ),
        ANSWERED | REFUSED,
    ),
    Case(
        "scalarlg",
        lambda p: response(
            p,
            "503 Service Unavailable",
            cseq="CSeq: 7777777777777777 INVITE",
            again="Retry-After: " + "9" * 40,
        ),
        SILENCE,
    ),
    Case("quotbal", lambda p: request(p, to=f'To: "Unbalanced <{p.uri}>'), REFUSED | ANSWERED),
    Case("ltgtruri", lambda p: request(p, uri=f"<{p.uri}>"), REFUSED),
    Case("lwsruri", lambda p: request(p, uri=f"{p.uri}; lr"), REFUSED),
    Case(
        "lwsstart", lambda p: message(f"OPTIONS  {p.uri}  SIP/2.0", fields(p, "OPTIONS")), REFUSED | ANSWERED
    ),
    Case("trws", lambda p: message(f"OPTIONS {p.uri} SIP/2.0  ", fields(p, "OPTIONS")), REFUSED | ANSWERED),
    Case("escruri", lambda p: request(p, uri=f"{p.uri}?Route=%3Csip:example.com%3E"), REFUSED | ANSWERED),
    Case("baddate", lambda p: request(p, date="Date: Thu, 26 Nov 2026 12:00:00 CET"), REFUSED | ANSWERED),
    Case(
        "regbadct",
        lambda p: request(p, "REGISTER", contact=f"Contact: sip:caller@{p.host}?Route=%3Csip:x.test%3E"),
        REFUSED | ANSWERED,
    ),
    Case("badaspec", lambda p: request(p, to=f'To: "Caller" < {p.uri} >'), REFUSED | ANSWERED),
    Case(
        "baddn",
        lambda p: request(p, sender=f"From: A, B <sip:a@{p.host}>;tag=4"),
        REFUSED | ANSWERED,
    ),
    Case(
        "badvers", lambda p: message(f"OPTIONS {p.uri} SIP/7.0", fields(p, "OPTIONS")), frozenset({505, None})
    ),
    Case("mismatch01", lambda p: request(p, cseq="CSeq: 8 INVITE"), REFUSED | ANSWERED),
    Case("mismatch02", lambda p: request(p, "NEWMETHOD", cseq="CSeq: 8 INVITE"), REFUSED | ANSWERED),
    Case("bigcode", lambda p: response(p, "4294967496 more than 32 bits"), SILENCE),
    # 3.2 Transactions
    Case(
        "badbranch",
        lambda p: request(p, via=f"Via: SIP/2.0/UDP {p.host}:{p.port};rport;branch=z9hG4bK"),
        frozenset({200}) | REFUSED,
    ),
    # 3.3 What the application sees
    Case(
        "insuf",
        lambda p: message(f"INVITE {p.uri} SIP/2.0", [f"Via: {p.via}", "CSeq: 19 INVITE"]),
        REFUSED,
    ),
    Case("unkscm", lambda p: request(p, uri="unheardof:something"), REFUSED | ANSWERED),
    Case("novelsc", lambda p: request(p, uri="im:order@192.0.2.9"), REFUSED | ANSWERED),
    Case(
        "unksm2",
        lambda p: request(p, "REGISTER", to="To: urn:x-a:b", sender="From: <https://caller.test>;tag=3"),
        REFUSED | ANSWERED,
    ),
    Case(
        "bext01",
        lambda p: request(p, need="Require: unheardof\r\nProxy-Require: unheardof2"),
        ANSWERED,
    ),
    Case(
        "invut",
        lambda p: request(p, "INVITE", content="Content-Type: application/x-unheardof", body="<a/>\r\n"),
        frozenset({415, 488}) | CALL,
    ),
    Case(
        "regaut01",
        lambda p: request(p, "REGISTER", auth='Authorization: Unheardof a="1",b=x'),
        NO_REGISTRAR,
    ),
    Case("multi01", _multi01, REFUSED),
    Case(
        "mcl01",
        lambda p: request(p, "INVITE", more="Content-Length: 13", body=p.offer),
        REFUSED,
    ),
    Case(
        "bcast",
        lambda p: response(p, "200 OK", via="Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKbcast"),
        SILENCE,
    ),
    Case("zeromf", lambda p: request(p, max_forwards="Max-Forwards: 0"), frozenset({200, 483})),
    Case(
        "cparam01",
        lambda p: request(p, "REGISTER", contact=f"Contact: sip:caller@{p.host};unheard"),
        NO_REGISTRAR,
    ),
    Case(
        "cparam02",
        lambda p: request(p, "REGISTER", contact=f"Contact: <sip:caller@{p.host};unheard>"),
        NO_REGISTRAR,
    ),
    Case(
        "regescrt",
        lambda p: request(p, "REGISTER", contact=f"Contact: <sip:caller@{p.host}?Route=%3Csip:x.test%3E>"),
        NO_REGISTRAR,
    ),
    Case(
        "sdp01",
        lambda p: request(p, "INVITE", accept="Accept: text/x-unheardof", body=p.offer),
        frozenset({406}) | CALL,
    ),
    # 3.4 RFC 2543's ways
    Case("inv2543", _inv2543, CALL | REFUSED),
)
