"""The one loop that places a load's calls, talks, listens and hangs up; its own lateness is measured too."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from agent.bench_impairment import Impairment
from agent.load_media import NUM_PHASES, PHASE_S, Heard, MediaBank
from agent.load_signalling import Callers, Dialog, DialogState, server_of
from agent.load_speech import Program
from agent.load_verdict import CallVerdict, Tally, judge_call, spread_ms
from telephony.errors import MalformedPacket

POLL_EVERY = 2  # phases
GRACE_S = 8.0  # for the last BYEs
MIN_FOLLOWED_S = 2.0  # how long a caller talks with whom they were handed to, at least


@dataclass(slots=True)
class Placed:
    """A call that is under way."""

    dialog: Dialog
    program: int
    hold_s: float
    impairment: Impairment | None
    arm: str
    is_talking: bool = False
    until_s: float = 0.0  # when to hang up, once it talks
    referrer: Dialog | None = None  # whose REFER this call follows


@dataclass(slots=True)
class Ended:
    """A call that is over, and what it heard."""

    arm: str
    verdict: CallVerdict
    heard: Heard | None
    program: Program
    ended_s: float = 0.0  # monotonic
    by_far: bool = False  # who hung up
    referred_to: str = ""  # whom the far end's REFER named
    is_follower: bool = False  # placed because of such a REFER


@dataclass(slots=True)
class OwnLateness:
    """By how much the generator itself ran behind: far from 0, nothing it says of others counts."""

    seconds: list[float] = field(default_factory=list)

    def take(self) -> dict[str, float]:
        """p50, p99 and max in milliseconds since the last time."""
        told, self.seconds = spread_ms(np.array(self.seconds)), []
        return told


class Generator:
    """Calls one gateway; use `run` between placing calls."""

    def __init__(
        self,
        remote: tuple[str, int],
        programs: tuple[Program, ...],
        max_call_s: float,
        host: str = "127.0.0.1",
    ) -> None:
        """`max_call_s` bounds what of a call is kept; a call may not be longer."""
        self.own = OwnLateness()
        self._remote, self._max_call_s, self._num_programs = remote, max_call_s, len(programs)
        self._bank = MediaBank(programs, max_call_s, host)
        self._callers = Callers(remote, address=host)
        self._calls: dict[int, Placed] = {}
        self._due: list[tuple[float, int]] = []  # when to hang up whom
        self._ended: list[Ended] = []
        self._next = 0
        self._index = 0  # of the phase
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Hang up what is left, and free every port."""
        for placed in self._calls.values():
            self._callers.hang_up(placed.dialog)
        self.run(0.5)
        self._bank.close()
        self._callers.close()

    @property
    def num_live(self) -> int:
        """Calls that are not over."""
        return len(self._calls)

    @property
    def num_unreferred(self) -> int:
        """Of these, all but those that follow a REFER."""
        return sum(placed.referrer is None for placed in self._calls.values())

    @property
    def num_talking(self) -> int:
        """Calls that were answered and are not over."""
        return sum(placed.is_talking for placed in self._calls.values())

    @property
    def num_dropped(self) -> int:
        """Packets that we ourselves lost."""
        return self._bank.num_dropped

    @property
    def num_retransmissions(self) -> int:
        """Requests that had to be sent again."""
        return self._callers.num_retransmissions

    def place(
        self,
        hold_s: float,
        impairment: Impairment | None = None,
        arm: str = "",
        program: int | None = None,
        uri: str = "",
    ) -> int:
        """Call, whom we always call or `uri`; hang up so long after the answer. The call's number."""
        assert hold_s <= self._max_call_s, (hold_s, self._max_call_s)
        number, self._next = self._next, self._next + 1
        dialog = self._callers.invite(number, self._bank.reserve(number), uri=uri)
        said = number % self._num_programs if program is None else program
        self._calls[number] = Placed(dialog, said, hold_s, impairment, arm)
        return number

    def move_to(self, host: str, within_s: float = 5.0) -> int:
        """Give every caller another address of ours, signalling and sound, and say so by re-INVITE.

        How many of these were accepted in time. Raises OSError where there is no such address.
        """
        moving = [placed.dialog for placed in self._calls.values() if placed.is_talking]
        self._bank.move(host)
        self._callers.close()
        self._callers = Callers(self._remote, address=host)
        for dialog in moving:
            self._callers.take_over(dialog)
            self._callers.move(dialog, self._bank.port_of(dialog.number), host)
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s and not all(dialog.status for dialog in moving):
            self._turn()
        return sum(dialog.status == 200 for dialog in moving)

    def run(self, seconds: float) -> None:
        """Let calls go on for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._turn()

    def run_until_over(self) -> None:
        """Let all calls go on to their ends; who does not end in time has failed."""
        holds_s = [placed.hold_s for placed in self._calls.values()]
        until_s = time.monotonic() + max(holds_s, default=0.0) + GRACE_S
        while self._calls and time.monotonic() < until_s:
            self._turn()
        for number in list(self._calls):
            self._close(number, "it did not end in time")

    def ramp(
        self, num_calls: int, calls_per_s: float, hold_s: float, impairment: Impairment | None = None
    ) -> None:
        """Place so many calls at this rate, and return when the last one has been placed."""
        began_s = time.monotonic()
        for number in range(num_calls):
            while time.monotonic() < began_s + number / calls_per_s:
                self._turn()
            self.place(hold_s, impairment)

    def take_ended(self) -> list[Ended]:
        """Calls that are over since the last time."""
        ended, self._ended = self._ended, []
        return ended

    def take_tally(self) -> Tally:
        """The same, counted."""
        tally = Tally()
        for one in self.take_ended():
            tally.add(one.verdict, one.heard)
        return tally

    def _turn(self) -> None:
        due_s = self._began_s + self._index * PHASE_S
        now_s = time.monotonic()
        if now_s < due_s:
            time.sleep(due_s - now_s)
            now_s = time.monotonic()
        self.own.seconds.append(now_s - due_s)
        self._bank.turn(self._index % NUM_PHASES, now_s)
        if self._index % POLL_EVERY == 0:
            self._signal(now_s)
        self._index += 1

    def _signal(self, now_s: float) -> None:
        changes = self._callers.poll(now_s)
        for dialog in changes.answered:
            self._begin(dialog, now_s)
        for dialog in changes.referred:
            self._follow(dialog, now_s)
        for dialog in changes.over:
            if dialog.number in self._calls:
                is_cut = dialog.was_ended_by_far and not dialog.referred_to
                self._close(dialog.number, dialog.failure or ("the far end hung up" if is_cut else ""))
        while self._due and self._due[0][0] <= now_s:
            number = heapq.heappop(self._due)[1]
            if number in self._calls:
                self._callers.hang_up(self._calls[number].dialog)

    def _begin(self, dialog: Dialog, now_s: float) -> None:
        placed = self._calls.get(dialog.number)
        if placed is None or placed.is_talking or dialog.state is not DialogState.CONFIRMED:
            return
        placed.is_talking, placed.until_s = True, now_s + placed.hold_s
        if placed.referrer is not None:
            self._callers.notify(placed.referrer, 200)
        remote = dialog.remote[0], dialog.remote_media_port
        self._bank.start(dialog.number, placed.program, remote, placed.impairment)
        heapq.heappush(self._due, (placed.until_s, dialog.number))

    def _follow(self, dialog: Dialog, now_s: float) -> None:
        """Call whom a REFER names, for what is left of the call's time, as a telephone does."""
        placed = self._calls.get(dialog.number)
        if placed is None:
            return
        try:
            server_of(dialog.referred_to)
        except MalformedPacket:
            self._callers.notify(dialog, 404)
            return
        self._callers.notify(dialog, 100)
        left_s = max(MIN_FOLLOWED_S, placed.until_s - now_s)
        number = self.place(left_s, None, placed.arm, placed.program, dialog.referred_to)
        self._calls[number].referrer = dialog

    def _close(self, number: int, failure: str) -> None:
        placed = self._calls.pop(number)
        if placed.referrer is not None and not placed.is_talking:
            self._callers.notify(placed.referrer, placed.dialog.status or 408)
        heard = self._bank.stop(number)
        dialog, program = placed.dialog, self._bank.program_of(placed.program)
        setup_s = None if dialog.answered_s is None else dialog.answered_s - dialog.invited_s
        verdict = judge_call(number, setup_s, failure, heard, program)
        ended_s = dialog.ended_s if dialog.ended_s is not None else time.monotonic()
        far, follows = dialog.was_ended_by_far, placed.referrer is not None
        self._ended.append(
            Ended(placed.arm, verdict, heard, program, ended_s, far, dialog.referred_to, follows)
        )
