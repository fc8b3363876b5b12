"""Every scenario by its name, and the line that it is played on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Final

from telephony.errors import TelephonyError
from tests.asterisk import control, media
from tests.asterisk.configuration import line_named
from tests.asterisk.pbx import Asterisk
from tests.asterisk.report import Verdict
from tests.asterisk.rig import Rig

LIMIT_S = 150.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens on which line."""

    name: str
    line: str
    play: Callable[[Rig, Verdict], Awaitable[None]]
    limit_s: float = LIMIT_S
    after: Callable[[str, Verdict], None] | None = None  # looks into the library's log, whole by then


ALWAYS: Final = (
    *(Scenario(line, line, media.both_directions) for line in ("pcmu", "pcma", "g722", "opus")),
    Scenario("sdes", "sdes", media.both_directions),
    Scenario("dtls", "dtls", media.both_directions, after=media.keys),
    Scenario("digits-rfc4733", "pcmu", media.digits),
    Scenario("digits-info", "info", media.digits),
    Scenario("digits-inband", "inband", media.inband),
    Scenario("hold", "hold", control.on_hold, after=control.directions),
    Scenario("blind-transfer", "hold", control.blind),
    Scenario("blind-transfer-to-nobody", "hold", control.blind_to_nobody),
    Scenario("transferred-by-others", "hold", control.moved),
    Scenario("refer-refused", "pcmu", control.refused),
    Scenario("attended-transfer", "pcmu", control.attended),
    Scenario("session-timer", "timer", media.refreshed, after=media.refreshes(2)),
)
LONG: Final = Scenario(
    "long-call", "timer", media.long_call, media.LONG_S + LIMIT_S, media.refreshes(media.LONG_S // 60)
)


async def run(scenario: Scenario, asterisk: Asterisk, folder: Path) -> Verdict:
    """Play it; whatever goes wrong is a fault of its verdict. The library's log goes to `folder`."""
    verdict, began_s = Verdict(scenario.name), time.monotonic()
    log = folder / f"{scenario.name}.log"
    try:
        async with asyncio.timeout(scenario.limit_s), Rig(asterisk, line_named(scenario.line), log) as rig:
            await scenario.play(rig, verdict)
        if scenario.after is not None:
            scenario.after(log.read_text(errors="replace"), verdict)
    except ExceptionGroup as group:
        verdict.faults.append(f"{group.exceptions[0]!r}")
    except (TelephonyError, TimeoutError, OSError, SubprocessError, AssertionError) as error:
        verdict.faults.append(f"{type(error).__name__}: {error}")
    verdict.took_s = time.monotonic() - began_s
    return verdict
