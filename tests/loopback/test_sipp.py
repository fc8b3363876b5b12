"""SIPp calls us: every scenario runs to its last step, and the sound crosses both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from telephony.resample import StreamResampler
from tests.loopback.conftest import AnswererProcess
from tests.loopback.sipp import (
    Sipp,
    answered,
    ended,
    expect,
    expect_request,
    maybe,
    offer,
    pause,
    raw_file,
    reply,
    send,
    stream,
)
from tests.loopback.tap import Tap
from tests.signals import Pcm, assert_crossed, speech_like

pytestmark = pytest.mark.loopback
RTP_HZ = 8_000


def sipp(answerer: AnswererProcess, steps: list[str], called: str, transport: str = "u1") -> Sipp:
    """A run against the answerer in a folder of its own."""
    folder = answerer.folder / "sipp"
    folder.mkdir(exist_ok=True)
    port = answerer.tcp_port if transport == "t1" else answerer.udp_port
    return Sipp(folder, steps, port, called, transport=transport)


def after_pick_up(speech: Pcm) -> Pcm:
    """A caller draws breath: what is said within a tenth of a second of the ACK may be clipped."""
    return np.concatenate([np.zeros(int(0.3 * RTP_HZ), np.float32), speech])


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_a_call_with_speech_both_ways_and_a_clean_bye(
    answerer: AnswererProcess, codec: str, transport: str
) -> None:
    speech = speech_like(3.2, RTP_HZ)
    file = raw_file(answerer.folder / "said.raw", after_pick_up(speech), codec)
    steps = [*answered(codec), stream(file, codec), pause(4.0), *ended()]
    with Tap() as tap:
        run = sipp(answerer, steps, "echo", transport)
        run.run()
    stats = answerer.wait("stats")
    assert stats["codec"].startswith(codec)
    echoed = [item for item in tap.seen if item.destination == run.media_port]
    assert echoed
    heard = tap.heard_at(run.media_port, codec)
    assert_crossed(speech, heard, RTP_HZ)
    assert answerer.stop()["malformed"] == 0


def test_cancel_ends_a_call_that_rings(answerer: AnswererProcess) -> None:
    steps = [
        send("INVITE", 1, offer("PCMU")),
        maybe(100),
        expect(180),
        send("CANCEL", 1),
        expect(200),
        expect(487),
        send("ACK", 1),
    ]
    sipp(answerer, steps, "slow").run()
    answerer.wait("gone")


def test_an_invite_without_sdp_gets_our_offer(answerer: AnswererProcess) -> None:
    steps = [
        send("INVITE", 1),
        maybe(100, 180),
        expect(200, pattern="m=audio [0-9]+ RTP/AVP.* 0 ", whole=True),
        send("ACK", 1, offer("PCMU")),
        pause(1.0),
        *ended(),
    ]
    sipp(answerer, steps, "echo").run()
    answerer.wait("answered")
    assert answerer.wait("stats")["codec"].startswith("PCMU")


def test_hold_and_resume_by_reinvite(answerer: AnswererProcess) -> None:
    def reinvite(cseq: int, direction: str, answer: str) -> list[str]:
        return [
            send("INVITE", cseq, offer("PCMU", direction=direction, version=cseq)),
            maybe(100),
            expect(200, pattern=f"a={answer}", whole=True),
            send("ACK", cseq),
            pause(0.5),
        ]

    steps = [
        *answered(),
        *reinvite(2, "sendonly", "recvonly"),
        *reinvite(3, "sendrecv", "sendrecv"),
        *reinvite(4, "inactive", "inactive"),
        *reinvite(5, "sendrecv", "sendrecv"),
        *ended(),
    ]
    sipp(answerer, steps, "echo").run()
    for kind in ("answered", "held", "resumed", "held", "resumed", "ended"):
        answerer.wait(kind)


def test_refer_sends_the_caller_on(answerer: AnswererProcess) -> None:
    def notify(cseq: int, status: str) -> str:
        return send(
            "NOTIFY",
            cseq,
            f"SIP/2.0 {status}",
            "Event: refer",
            f"Subscription-State: {'active' if status.startswith('1') else 'terminated;reason=noresource'}",
        ).replace("application/sdp", "message/sipfrag;version=2.0")

    steps = [
        *answered(),
        expect_request("REFER", "Refer-To:", "sip:desk@127.0.0.1:5999"),
        reply("202 Accepted"),
        notify(2, "100 Trying"),
        expect(200),
        notify(3, "200 OK"),
        expect(200),
        expect_request("BYE"),
        reply("200 OK"),
    ]
    sipp(answerer, steps, "refer").run()
    answerer.wait("transfer", code=200)
    answerer.wait("ended")


@pytest.mark.parametrize(
    ("called", "body", "status", "header", "pattern"),
    [
        ("full", offer("PCMU"), 503, "Retry-After:", "7"),
        ("busy", offer("PCMU"), 486, "", ""),
        ("echo", offer("GSM"), 488, "", ""),
    ],
)
def test_a_refusal_comes_before_any_ringing(
    answerer: AnswererProcess, called: str, body: str, status: int, header: str, pattern: str
) -> None:
    steps = [send("INVITE", 1, body), maybe(100), expect(status, header, pattern), send("ACK", 1)]
    sipp(answerer, steps, called).run()


def test_options_is_answered(answerer: AnswererProcess) -> None:
    sipp(answerer, [send("OPTIONS", 1), expect(200, "Allow:", "INVITE")], "echo").run()


def test_the_callers_sound_arrives_at_the_models_rate(answerer: AnswererProcess, tmp_path: Path) -> None:
    speech = speech_like(3.2, RTP_HZ)
    file = raw_file(tmp_path / "said.raw", after_pick_up(speech), "PCMU")
    sipp(answerer, [*answered(), stream(file, "PCMU"), pause(3.6), *ended()], "echo").run()
    said, played = answerer.sound(answerer.wait("stats")["call_id"])
    assert len(said) % 1920 == 0
    assert_crossed(StreamResampler(RTP_HZ, 24_000).push(speech), said, 24_000)
    assert np.any(np.abs(played) > 0.05)
