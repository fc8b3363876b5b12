"""Scenarios of sound and digits: each takes a rig and writes into a verdict."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from telephony.endpoint import EndpointEventKind
from tests.asterisk import sound
from tests.asterisk.report import Verdict
from tests.asterisk.rig import WARM_UP_S, Phone, Rig
from tests.signals import Pcm

WALK_S = 5
READ_DIGITS, SENT_DIGITS = "4567", "159*"  # the second stands in the dialplan, too
LONG_S = 1200
REFRESH_S = 60  # two thirds of the shortest session there is: the one refresh is due at half of it
MAX_HANDSHAKE_MS = 200  # on loopback; as long, every other call's sound may wait for it
DAY_MS = 86_400_000
_HANDSHAKE = re.compile(
    r"^(\d\d):(\d\d):(\d\d)\.(\d{3}) .*(RTP channel negotiation initiated|SRTP started)", re.MULTILINE
)


async def echoed(phone: Phone, verdict: Verdict, what: str, seconds: int = WALK_S) -> None:
    """Every second that we say to Asterisk's echo comes back."""
    await phone.listen(WARM_UP_S)
    judge(phone, verdict, what, await phone.walk(seconds), seconds)


def judge(phone: Phone, verdict: Verdict, what: str, heard: Pcm, seconds: int) -> None:
    """Take in seconds of our own sound, float32 [T]; what was wrong stays as a recording."""
    right = sound.judge_ladder(heard, seconds)
    verdict.hear(what, right, seconds)
    if not all(right):
        phone.keep(heard, f"{verdict.name} {what}")


async def both_directions(rig: Rig, verdict: Verdict) -> None:
    """We call Asterisk, it calls us; sound goes there and back in either call."""
    for what, connect in (("called by us", rig.dial), ("calling us", rig.called)):
        phone = await connect("echo")
        await echoed(phone, verdict, what)
        codec = phone.endpoint.stats().codec
        verdict.facts["codec"] = codec
        verdict.check(codec.startswith(f"{rig.line.codec}/"), f"{what}: the codec is {codec}")
        await phone.hang_up()


async def digits(rig: Rig, verdict: Verdict) -> None:
    """What we press is read there, what Asterisk presses is told here, each once."""
    before = len(rig.asterisk.notes("read"))
    phone = await rig.dial("read")
    await phone.listen(WARM_UP_S)
    phone.endpoint.send_dtmf(READ_DIGITS)
    await phone.until(EndpointEventKind.ENDED)
    read = rig.asterisk.notes("read")[before:]
    verdict.facts["read by Asterisk"] = " ".join(read)
    verdict.check(read == [READ_DIGITS], f"Asterisk read {read} of {READ_DIGITS}")
    await digits_heard(rig, verdict)
    await echo_after(rig, verdict)


async def inband(rig: Rig, verdict: Verdict) -> None:
    """Digits that Asterisk sends as sound alone are told here."""
    await digits_heard(rig, verdict)
    await echo_after(rig, verdict)


async def digits_heard(rig: Rig, verdict: Verdict) -> None:
    """Asterisk presses."""
    phone = await rig.dial("digits")
    await phone.until(EndpointEventKind.ENDED)
    told = "".join(event.digit for event in phone.events if event.kind is EndpointEventKind.DTMF)
    verdict.facts["told here"] = told
    verdict.check(told == SENT_DIGITS, f"{told!r} of {SENT_DIGITS!r} was told here")


async def echo_after(rig: Rig, verdict: Verdict) -> None:
    """Such a line carries sound, too."""
    phone = await rig.dial("echo")
    await echoed(phone, verdict, "sound", 2)
    told = [event.digit for event in phone.events if event.kind is EndpointEventKind.DTMF]
    verdict.check(not told, f"the echo of tones was taken for the digits {told}")
    await phone.hang_up()


async def refreshed(rig: Rig, verdict: Verdict) -> None:
    """A session of 90 s, in both directions at once, is heard throughout its refresh (RFC 4028)."""
    phones = await rig.dial("echo"), await rig.called("echo")
    await asyncio.gather(
        *(echoed(phone, verdict, what, REFRESH_S) for phone, what in zip(phones, ("out", "in"), strict=True))
    )
    for phone in phones:
        await phone.hang_up()


async def long_call(rig: Rig, verdict: Verdict) -> None:
    """Twenty minutes, refreshed again and again, every second heard."""
    phone = await rig.dial("echo")
    await phone.listen(WARM_UP_S)
    heard = await phone.walk(LONG_S)
    stats = phone.endpoint.stats()
    await phone.hang_up()
    judge(phone, verdict, "out", heard, LONG_S)
    verdict.facts["packets"] = f"{stats.rx_packets}, {stats.rx_lost} lost, {stats.rx_discarded} late"
    verdict.facts["of ours"] = f"{stats.playout_underruns} underruns, {stats.frames_dropped} frames missed"


def refreshes(at_least: int) -> Callable[[str, Verdict], None]:
    """A look into the library's log: so many UPDATEs have gone either way."""

    def look(log: str, verdict: Verdict) -> None:
        sent, got = (
            len(set(re.findall(rf"{way} \d+ bytes Request msg (UPDATE/\S+)", log))) for way in ("TX", "RX")
        )
        verdict.facts["UPDATEs"] = f"{sent} sent, {got} received"
        verdict.check(sent + got >= at_least, f"{sent + got} of {at_least} refreshes")

    return look


def keys(log: str, verdict: Verdict) -> None:
    """A look into the library's log: each call has its keys soon after its handshake has begun."""
    waits_ms: list[int] = []
    began_ms: int | None = None
    for hour, minute, second, thousandth, what in _HANDSHAKE.findall(log):
        at_ms = ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1000 + int(thousandth)
        if what != "SRTP started":
            began_ms = at_ms
        elif began_ms is not None:
            waits_ms.append((at_ms - began_ms) % DAY_MS)
            began_ms = None
    verdict.facts["keys after"] = ", ".join(f"{wait} ms" for wait in waits_ms)
    verdict.check(len(waits_ms) == 2, f"{len(waits_ms)} of 2 handshakes seen")
    verdict.check(all(wait <= MAX_HANDSHAKE_MS for wait in waits_ms), "a handshake is slow")
