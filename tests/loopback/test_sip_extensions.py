"""SIPp asks for what carriers ask for: session timers, reliable ringing, digits by INFO."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loopback.conftest import AnswererProcess
from tests.loopback.sipp import Sipp, answered, ended, expect, maybe, offer, pause, send

pytestmark = pytest.mark.loopback


@pytest.fixture(scope="module")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswererProcess]:
    """One for the module: nothing here asks how it ends."""
    with AnswererProcess(tmp_path_factory.mktemp("answerer")) as process:
        yield process


def run(answerer: AnswererProcess, steps: list[str], called: str = "echo") -> None:
    """Run a scenario to its end."""
    folder = answerer.folder / "sipp"
    folder.mkdir(exist_ok=True)
    Sipp(folder, steps, answerer.udp_port, called).run()


def info(cseq: int, body: str, kind: str) -> str:
    """A digit as an INFO request."""
    return send("INFO", cseq, body).replace("application/sdp", kind)


def test_digits_by_info_are_told_once_each(answerer: AnswererProcess) -> None:
    steps = [
        *answered(),
        info(2, "Signal=5\nDuration=160", "application/dtmf-relay"),
        expect(200),
        info(3, "Signal=#\nDuration=160", "application/dtmf-relay"),
        expect(200),
        pause(0.3),
        *ended(),
    ]
    run(answerer, steps)
    answerer.wait("dtmf", digit="5")
    answerer.wait("dtmf", digit="#")


def test_a_session_timer_is_agreed_and_one_that_is_too_short_is_refused(answerer: AnswererProcess) -> None:
    long = send("INVITE", 1, offer("PCMU"), "Supported: timer", "Session-Expires: 90;refresher=uac")
    agreed = expect(200, "Session-Expires:", "90;refresher=uac")
    run(answerer, [long, maybe(100, 180, 183), agreed, send("ACK", 1), pause(0.2), *ended()])
    short = send("INVITE", 1, offer("PCMU"), "Supported: timer", "Session-Expires: 30", "Min-SE: 30")
    run(answerer, [short, maybe(100), expect(422, "Min-SE:", "90"), send("ACK", 1)])


def test_ringing_is_acknowledged_where_the_caller_wants_it(answerer: AnswererProcess) -> None:
    steps = [
        send("INVITE", 1, offer("PCMU"), "Require: 100rel"),
        maybe(100),
        expect(180, "RSeq:", "[0-9]+"),
        send("PRACK", 2, "", "RAck: [$found] 1 INVITE"),
        expect(200),
        expect(200),
        send("ACK", 1),
        pause(0.2),
        *ended(),
    ]
    run(answerer, steps, "rung")
