"""`offhook bench drain`: what stops and upgrades do to live calls; none may be cut.

    drain      a gateway gets SIGTERM: new callers and OPTIONS hear 503 with Retry-After, live calls go on
               with sound until their callers hang up, and then the process ends with 0
    rolling    two gateways behind Kamailio are replaced one after the other under steady new calls
    workers    both workers of a gateway are restarted in turn
    deadline   calls that go on when the drain time is over: handed to another gateway, or hung up on

Calls are those of `offhook load`, with the stand-in engine. Who hung up, what was heard and what newcomers
were told is noted by the callers' side alone.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.bench_drain_scenes import (
    BRIEF,
    Taken,
    drain_under_calls,
    outlive,
    restart_workers,
    upgrade_under_calls,
)
from agent.bench_probe import Probe
from agent.errors import AgentError
from agent.load_generator import Ended
from agent.load_media import NUM_LINES
from agent.load_verdict import Turn, lateness_s, spread_ms
from agent.machine import Machine, this_machine

SCENES = ("drain", "rolling", "workers", "deadline")
UNAVAILABLE = 503
EARLY_S = 0.2  # by which a deadline's end may seem to come before it
SHOWN_FAULTS = 12
WORKERS_S = 8.0  # by which calls last longer while workers restart
BACK_BAR_S = 3.0  # a call without a model, where another worker has room

console = Console()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scene's figures."""

    scene: str
    num_calls: int  # placed, newcomers by REFER not counted
    num_cut: int  # not ended by their callers
    num_handed_over: int  # they talked with somebody else to the end
    silences_ms: dict[str, float]  # each call's longest time without a packet
    late_ms: dict[str, float]  # of packets
    turns: int
    unanswered: int
    wrong: int
    newcomers: dict[str, int]  # "INVITE 503": how often
    exit_codes: tuple[int | None, ...]
    exit_after_s: float  # from the last call's end, or from the deadline
    back_ms: dict[str, float]  # calls whose worker went, until another one had them
    faults: tuple[str, ...]


def judge(taken: Taken) -> Outcome:
    """What a scene's calls tell."""
    first = [one for one in taken.ended if not one.is_follower]
    followers = [one for one in taken.ended if one.is_follower]
    turns = [turn for one in taken.ended for turn in one.verdict.turns]
    return Outcome(
        taken.name,
        len(first),
        sum(bool(one.verdict.failure) for one in first),
        sum(lived(one) for one in followers),
        spread_ms([longest_silence_s(one) for one in taken.ended if one.heard is not None]),
        _late_ms(taken.ended),
        len(turns),
        sum(turn.gap_s is None for turn in turns),
        sum(wrong_answers(one.verdict.turns) for one in taken.ended),
        dict(Counter(f"{probe.method} {probe.status}" for probe in taken.probes)),
        taken.exit_codes,
        taken.gone_s - max((one.ended_s for one in first), default=taken.gone_s),
        spread_ms(taken.took_s),
        tuple(_faults(taken, first, followers)),
    )


def wrong_answers(turns: Sequence[Turn]) -> int:
    """Answers that are not the line after the one before; a turn without an answer moves nothing on."""
    wrong, expected = 0, 1
    for turn in turns:
        if turn.gap_s is None:
            continue
        wrong += turn.line != expected
        expected = ((expected if turn.line is None else turn.line) + 1) % NUM_LINES
    return wrong


def lived(one: Ended) -> bool:
    """Whether a call was answered, heard something and was ended by its caller."""
    return not one.verdict.failure and one.verdict.num_received > 0


def longest_silence_s(one: Ended) -> float:
    """The longest time between two packets that a caller got, in seconds; infinite without two."""
    came_s = np.sort(one.heard.at_s[~np.isnan(one.heard.at_s)]) if one.heard is not None else np.zeros(0)
    return float(np.diff(came_s).max()) if len(came_s) > 1 else float("inf")


def _late_ms(ended: Sequence[Ended]) -> dict[str, float]:
    late_s = [lateness_s(one.heard) for one in ended if one.heard is not None]
    return spread_ms(np.concatenate(late_s) if late_s else ())


# ---- what was wrong, in words ----


def _faults(taken: Taken, first: Sequence[Ended], followers: Sequence[Ended]) -> list[str]:
    if taken.drain_s is None:
        found = [f"call {one.verdict.number}: {fault}" for one in first for fault in faults_of(one, taken)]
    elif taken.has_target:
        found = _handover_faults(first, followers)
    else:
        found = _deadline_faults(taken, first)
    found += _probe_faults(taken.probes)
    found += [f"a gateway that drained ended with {code}" for code in taken.exit_codes if code != 0]
    found += [f"a call was without a model for {s:.1f} s" for s in taken.took_s if s > BACK_BAR_S]
    return found if first else ["no call was placed", *found]


def faults_of(one: Ended, taken: Taken) -> list[str]:
    """What was wrong with a call that must not have noticed anything.

    Where its worker was restarted it may have noticed: the answer that was due is late or lost.
    """
    return [one.verdict.failure] * bool(one.verdict.failure) if taken.took_s else one.verdict.faults()


def _handover_faults(first: Sequence[Ended], followers: Sequence[Ended]) -> list[str]:
    kept = [one for one in first if not one.referred_to]
    found = [f"{len(followers)} calls were handed over, not {len(first) - BRIEF}"]
    found = found if len(followers) != len(first) - BRIEF else []
    for one in kept:
        found += [f"call {one.verdict.number}, not handed over: {fault}" for fault in one.verdict.faults()]
    for one in followers:
        found += [f"call {one.verdict.number}, handed over: {fault}" for fault in one.verdict.faults()]
    return found


def _deadline_faults(taken: Taken, first: Sequence[Ended]) -> list[str]:
    """Without a target: nobody is hung up on before the drain time is over, and everybody then."""
    assert taken.drain_s is not None
    lasted_s = [one.ended_s - taken.told_s for one in first if one.by_far]
    early = sum(seconds < taken.drain_s - EARLY_S for seconds in lasted_s)
    found = [f"{early} calls were hung up on before the deadline"] if early else []
    spared = len(first) - len(lasted_s) - BRIEF
    return found + ([f"{spared} calls outlived the deadline"] if spared else [])


def _probe_faults(probes: Sequence[Probe]) -> list[str]:
    wrong = Counter(
        f"{one.method} is answered by {one.status}" for one in probes if one.status != UNAVAILABLE
    )
    mute = Counter(
        f"{one.method} 503 has no Retry-After"
        for one in probes
        if one.status == UNAVAILABLE and not one.retry_after.isdecimal()
    )
    return [f"{count} times {what} while draining" for what, count in (wrong + mute).items()]


# ---- the command ----


def drain_table(outcomes: Sequence[Outcome]) -> Table:
    """One column a scene."""
    table = Table("", *(one.scene for one in outcomes), title="stops and upgrades", title_justify="left")
    columns = [_figures(one) for one in outcomes]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def _figures(one: Outcome) -> dict[str, str]:
    newcomers = ", ".join(f"{count} x {heard}" for heard, count in sorted(one.newcomers.items()))
    codes = ", ".join("none" if code is None else str(code) for code in one.exit_codes)
    return {
        "calls; cut": f"{one.num_calls}; {one.num_cut}",
        "handed over": str(one.num_handed_over),
        "longest silence of a call p50, max, ms": _told(one.silences_ms, "p50", "max"),
        "packets late p99, max, ms": _told(one.late_ms, "p99", "max"),
        "turns; not answered; wrong sound": f"{one.turns}; {one.unanswered}; {one.wrong}",
        "newcomers heard": newcomers or "-",
        "exit code": codes or "-",
        "exit after the last call, s": f"{one.exit_after_s:.1f}" if len(one.exit_codes) == 1 else "-",
        "without a model p50, max, ms": _told(one.back_ms, "p50", "max"),
    }


def _told(spread: dict[str, float], *names: str) -> str:
    return "-" if np.isnan(spread["max"]) else ", ".join(f"{spread[name]:.0f}" for name in names)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=20, help="at once (default 20)")
    parser.add_argument("--hold", type=float, default=16.0, metavar="S", help="of each call (default 16)")
    parser.add_argument("--scenes", default=",".join(SCENES), help="some of them (default: all)")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Call, stop, judge, print; 1 if a call was cut or something else did not hold."""
    chosen = [word.strip() for word in args.scenes.split(",")]
    if args.calls < 1 or args.hold < 8 or not set(chosen) <= set(SCENES):
        raise AgentError(f"--calls from 1, --hold from 8 s, --scenes some of {','.join(SCENES)}")
    machine = this_machine()
    outcomes = []
    for taken in (taken for scene in chosen for taken in play(scene, args.calls, args.hold)):
        outcomes.append(judge(taken))
        console.print(f"{taken.name}: {outcomes[-1].num_cut} of {outcomes[-1].num_calls} calls cut")
    return report(outcomes, machine, args.json)


def play(scene: str, num_calls: int, hold_s: float) -> list[Taken]:
    """One scene, or both of the deadline's."""
    match scene:
        case "drain":
            return [drain_under_calls(num_calls, hold_s)]
        case "rolling":
            return [upgrade_under_calls(num_calls, hold_s)]
        case "workers":
            return [restart_workers(num_calls, hold_s + 2 * WORKERS_S)]
    return [outlive(num_calls, has_target=True), outlive(num_calls, has_target=False)]


def report(outcomes: Sequence[Outcome], machine: Machine, path: Path | None) -> int:
    """Print the figures, write them to `path` too; 1 if something did not hold."""
    console.print(drain_table(outcomes))
    faults = [f"{one.scene}: {fault}" for one in outcomes for fault in one.faults]
    for fault in faults[:SHOWN_FAULTS]:
        console.print(f"[red]{fault}")
    console.print(str(machine), highlight=False)
    if path:
        told = {"machine": asdict(machine), "scenes": [asdict(one) for one in outcomes]}
        path.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if faults else 0
