"""`offhook bench loss`: what bad networks do to the waiting for an answer, beside clean calls meanwhile.

The first part of each call is over such a network, the rest over a clean one. The same callers call in every
arm, all at once on one gateway, so that what differs is the network. What must hold: the median wait while
the network is bad, and after it, against that of the clean calls in the same part; every call lives to its
end; the stand-in's answers are the right ones once the network is good again. A last part moves every caller
to another address in mid-call, by re-INVITE.

The network is in user space, in the generator: exact for each packet, and the same on every machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.bench_gateway import GatewayProcess
from agent.bench_impairment import Impairment
from agent.errors import AgentError
from agent.load_generator import Ended, Generator
from agent.load_speech import Program, programs
from agent.load_verdict import Turn
from agent.machine import Machine, this_machine

BAD_S = 36.0  # of each call, then it is good
GOOD_S = 30.0
SETTLE_S = 4.0  # after it, before turns count again
START_S = 2.0
OUTAGE_S = 12.0
MOVE_AFTER_S = 24.0
NEW_ADDRESS = "127.0.0.2"
DRIFT_BAR_MS = 20.0  # one packet
RATE = 10.0  # new calls per second
CLEAN = "clean"

console = Console()


@dataclass(frozen=True, slots=True)
class Arm:
    """One kind of network, and by how much it may delay answers; None: reported only."""

    name: str
    impairment: Impairment | None
    bar_ms: float | None = None


def arms(bad_s: float = BAD_S) -> tuple[Arm, ...]:
    """All of them; the first is clean."""
    bad = [
        (Impairment(loss=0.01, burst=3, lasts_s=bad_s), 50.0),
        (Impairment(loss=0.05, burst=3, lasts_s=bad_s), 100.0),
        (Impairment(jitter_s=0.06, lasts_s=bad_s), None),
        (Impairment(reordered=0.05, lasts_s=bad_s), None),
        (Impairment(outage_at_s=bad_s - OUTAGE_S, outage_s=OUTAGE_S, lasts_s=bad_s), None),
    ]
    return (Arm(CLEAN, None, 0.0), *(Arm(one.name, one, bar_ms) for one, bar_ms in bad))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arm's figures."""

    arm: str
    num_calls: int
    num_ended_early: int
    bad_ms: float  # median wait in the first part; NaN: there was no answer
    good_ms: float  # and after it
    shift_ms: float  # against the clean arm's first part
    drift_ms: float  # against the clean arm's second part
    bar_ms: float | None
    turns_bad: int
    unanswered_bad: int
    turns_good: int
    wrong_good: int  # answers with wrong sound, or none, after the bad part
    lost_share: float  # of the packets that the caller should have got

    def faults(self) -> list[str]:
        """What is beyond a bar, in words."""
        found = [f"{self.arm}: {self.num_ended_early} calls ended early"] if self.num_ended_early else []
        if self.bar_ms is not None and not self.shift_ms <= self.bar_ms and self.arm != CLEAN:
            found.append(f"{self.arm}: answers come {self.shift_ms:.0f} ms later, {self.bar_ms:g} allowed")
        if not self.drift_ms <= DRIFT_BAR_MS:
            found.append(f"{self.arm}: after it, answers still come {self.drift_ms:.0f} ms later")
        if self.wrong_good:
            found.append(f"{self.arm}: {self.wrong_good} of {self.turns_good} answers are wrong after it")
        return found


def parts_of(calls: Sequence[Ended], bad_s: float) -> tuple[list[Turn], list[Turn]]:
    """Turns that ended in the bad part (past its start), and those well after it."""
    bad: list[Turn] = []
    good: list[Turn] = []
    for call in calls:
        if call.heard is None or not len(call.heard.sent_s):
            continue
        began_s = float(call.heard.sent_s[0])
        for turn in call.verdict.turns:
            age_s = turn.end_s - began_s
            if START_S <= age_s <= bad_s:
                bad.append(turn)
            elif age_s > bad_s + SETTLE_S:
                good.append(turn)
    return bad, good


def median_ms(turns: Sequence[Turn]) -> float:
    """The median wait of the turns that were answered."""
    gaps_s = [turn.gap_s for turn in turns if turn.gap_s is not None]
    return 1e3 * float(np.median(gaps_s)) if gaps_s else float("nan")


def judge(
    arm: Arm, calls: Sequence[Ended], clean: Sequence[Ended], bad_s: float, *, knows_lines: bool = True
) -> Outcome:
    """One arm against the clean one."""
    bad, good = parts_of(calls, bad_s)
    clean_bad, clean_good = parts_of(clean, bad_s)
    verdicts = [call.verdict for call in calls]
    expected = sum(one.num_received + one.num_lost for one in verdicts)
    return Outcome(
        arm.name,
        len(calls),
        sum(bool(one.failure) for one in verdicts),
        median_ms(bad),
        median_ms(good),
        median_ms(bad) - median_ms(clean_bad),
        median_ms(good) - median_ms(clean_good),
        arm.bar_ms,
        len(bad),
        sum(turn.gap_s is None for turn in bad),
        len(good),
        sum(turn.gap_s is None for turn in good) if not knows_lines else wrong_after(calls, bad_s),
        sum(one.num_lost for one in verdicts) / expected if expected else float("nan"),
    )


def wrong_after(calls: Sequence[Ended], bad_s: float) -> int:
    """Turns after the bad part without an answer, or with one that does not follow on the one before.

    Losses may make the stand-in hear one sentence as two, so its lines may have moved on; from the first one
    after the bad part on, each must be the next.
    """
    wrong = 0
    for call in calls:
        _, good = parts_of([call], bad_s)
        shifts = [None if turn.line is None else (turn.line - turn.number) % 8 for turn in good]
        known = [shift for shift in shifts if shift is not None]
        wrong += sum(shift is None or shift != known[0] for shift in shifts)
    return wrong


def call_arms(
    gateway: GatewayProcess, callers: tuple[Program, ...], chosen: Sequence[Arm], bad_s: float, good_s: float
) -> dict[str, list[Ended]]:
    """As many calls in each arm as there are callers, all at the same time."""
    hold_s = bad_s + good_s
    with Generator(gateway.address, callers, hold_s + 5.0) as generator:
        for number in range(len(callers)):
            for arm in chosen:
                generator.place(hold_s, arm.impairment, arm.name, number)
                generator.run(1 / RATE)
        generator.run_until_over()
        return _by_arm(generator.take_ended())


def _by_arm(ended: Sequence[Ended]) -> dict[str, list[Ended]]:
    found: dict[str, list[Ended]] = {}
    for call in ended:
        found.setdefault(call.arm, []).append(call)
    return found


@dataclass(frozen=True, slots=True)
class Move:
    """Every caller got another address in mid-call."""

    num_calls: int
    num_accepted: int  # re-INVITEs that got 200
    num_ended_early: int
    longest_silence_ms: float  # of packets, around the move
    turns_after: int
    wrong_after: int
    shift_ms: float  # of the median wait, after the move against before it


def call_and_move(gateway: GatewayProcess, callers: tuple[Program, ...], hold_s: float) -> Move:
    """Calls whose callers move to NEW_ADDRESS after MOVE_AFTER_S."""
    with Generator(gateway.address, callers, hold_s + 5.0) as generator:
        for number in range(len(callers)):
            generator.place(hold_s, None, "move", number)
        generator.run(MOVE_AFTER_S)
        num_accepted = generator.move_to(NEW_ADDRESS)
        generator.run_until_over()
        ended = generator.take_ended()
    before, after = parts_of(ended, MOVE_AFTER_S)
    silences_s = [
        float(np.nanmax(np.diff(call.heard.at_s[~np.isnan(call.heard.at_s)]), initial=0.0))
        for call in ended
        if call.heard is not None
    ]
    return Move(
        len(ended),
        num_accepted,
        sum(bool(call.verdict.failure) for call in ended),
        1e3 * max(silences_s, default=float("nan")),
        len(after),
        wrong_after(ended, MOVE_AFTER_S),
        median_ms(after) - median_ms(before),
    )


def move_faults(move: Move) -> list[str]:
    """What did not hold, in words."""
    found = []
    if move.num_accepted < move.num_calls:
        found.append(f"move: {move.num_calls - move.num_accepted} re-INVITEs were not accepted")
    if move.num_ended_early:
        found.append(f"move: {move.num_ended_early} calls ended early")
    if move.wrong_after or not move.turns_after:
        found.append(f"move: {move.wrong_after} of {move.turns_after} answers are wrong after it")
    if not abs(move.shift_ms) <= DRIFT_BAR_MS:
        found.append(f"move: after it, answers come {move.shift_ms:.0f} ms later")
    return found


def loss_table(outcomes: Sequence[Outcome]) -> Table:
    """One row an arm."""
    table = Table(title="bad networks", title_justify="left")
    for name in (
        "network",
        "wait ms",
        "shift",
        "after",
        "drift",
        "turns",
        "silent",
        "after",
        "wrong",
        "lost",
    ):
        table.add_column(name, justify="left" if name == "network" else "right")
    for one in outcomes:
        table.add_row(
            one.arm,
            f"{one.bad_ms:.0f}",
            f"{one.shift_ms:+.0f}",
            f"{one.good_ms:.0f}",
            f"{one.drift_ms:+.0f}",
            str(one.turns_bad),
            str(one.unanswered_bad),
            str(one.turns_good),
            str(one.wrong_good),
            f"{100 * one.lost_share:.1f} %",
        )
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=6, help="in each arm (default 6)")
    parser.add_argument("--engine", choices=("standin", "builtin"), default="standin")
    parser.add_argument("--bad", type=float, default=BAD_S, help=f"seconds of bad network ({BAD_S:g})")
    parser.add_argument("--good", type=float, default=GOOD_S, help=f"seconds after it ({GOOD_S:g})")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Call, compare, print; 1 if a bar is missed."""
    if args.calls < 1 or args.bad <= OUTAGE_S or args.good <= SETTLE_S:
        raise AgentError(f"--calls from 1, --bad above {OUTAGE_S:g} s, --good above {SETTLE_S:g} s")
    machine, chosen = this_machine(), arms(args.bad)
    callers = programs(args.calls)
    knows_lines = args.engine == "standin"
    num_slots = args.calls * len(chosen) + 2
    own = {
        "OFFHOOK_WORKER__ENGINE": args.engine,
        "OFFHOOK_WORKER__SLOTS": str(num_slots),
        "OFFHOOK_SIP__MAX_CALLS": str(num_slots),
        "OFFHOOK_WEBRTC__ENABLED": "false",
        "OFFHOOK_LOG__LEVEL": "warning",
    }
    with GatewayProcess(own) as gateway:
        console.print(f"{args.calls} calls in each of {len(chosen)} arms, {args.bad + args.good:g} s each")
        found = call_arms(gateway, callers, chosen, args.bad, args.good)
        move = call_and_move(gateway, callers, MOVE_AFTER_S + args.good)
    clean = found.get(CLEAN, [])
    outcomes = [
        judge(arm, found.get(arm.name, []), clean, args.bad, knows_lines=knows_lines) for arm in chosen
    ]
    return report(outcomes, move, machine, args.json)


def report(outcomes: Sequence[Outcome], move: Move, machine: Machine, path: Path | None) -> int:
    """Print the figures, write them to `path` too; 1 if a bar is missed."""
    console.print(loss_table(outcomes))
    console.print(
        f"moved: {move.num_accepted} of {move.num_calls} re-INVITEs accepted, longest silence "
        f"{move.longest_silence_ms:.0f} ms, {move.wrong_after} of {move.turns_after} answers wrong after it, "
        f"wait {move.shift_ms:+.0f} ms"
    )
    faults = [fault for one in outcomes for fault in one.faults()] + move_faults(move)
    for fault in faults:
        console.print(f"[red]{fault}")
    console.print(f"{machine}; network in user space", highlight=False)
    if path:
        told = {"machine": asdict(machine), "network": "user space", "move": asdict(move)}
        path.write_text(json.dumps({**told, "arms": [asdict(one) for one in outcomes]}, indent=2) + "\n")
    return 1 if faults else 0
