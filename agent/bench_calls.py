"""`offhook bench calls`: hundreds of calls one after another, then more at once than there are slots.

What must hold: every call gets sound, the surplus gets 503 with Retry-After before any ringing, and nothing
is left behind: no slot, no port, no file descriptor, and no memory beyond 3 MB over the last 100 calls.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipPeer, sdp
from telephony.errors import CallRefused, TelephonyError

MAX_GROWTH_BYTES = 3_000_000
GROWTH_CALLS = 100
SETTLE_S = 5.0  # PJSIP keeps a call's transactions this long (RFC 3261 timers)
NUM_READINGS, READING_S = 10, 0.1  # of what is open: the connection that asked for a metric closes meanwhile
SURPLUS = 2  # calls at once beyond the slots


@dataclass(frozen=True, slots=True)
class Holding:
    """What the gateway holds at one time."""

    slots: int
    calls: int
    rtp_ports: int
    files: int
    resident_bytes: int


@dataclass(slots=True)
class Outcome:
    """The bench's result."""

    num_good: int = 0
    failures: list[str] = field(default_factory=list)
    before: Holding | None = None
    after: Holding | None = None
    growth_bytes: int = 0  # over the last GROWTH_CALLS calls
    num_answered_at_once: int = 0
    refusals: list[tuple[int, int | None, bool]] = field(
        default_factory=list
    )  # status, Retry-After, rang before

    def faults(self, num_slots: int) -> list[str]:
        """What did not hold, in words; empty when all is well."""
        found = [f"call failed: {reason}" for reason in self.failures]
        assert self.before is not None and self.after is not None
        for name in ("slots", "calls", "rtp_ports", "files"):
            had, has = getattr(self.before, name), getattr(self.after, name)
            if has > had:
                found.append(f"{has - had} {name} leaked")
        if self.growth_bytes > MAX_GROWTH_BYTES:
            found.append(f"memory grew by {self.growth_bytes} bytes over the last {GROWTH_CALLS} calls")
        if self.num_answered_at_once != num_slots:
            found.append(f"{self.num_answered_at_once} calls at once were answered on {num_slots} slots")
        found += [
            f"the surplus got {status} (Retry-After {again}, ringing before it: {rang})"
            for status, again, rang in self.refusals
            if status != 503 or again is None or rang
        ]
        return found


def holding(gateway: GatewayProcess) -> Holding:
    """Count what the gateway holds now."""
    return Holding(
        slots=round(gateway.metric("offhook_worker_slots_used")),
        calls=round(gateway.metric("offhook_calls_active")),
        rtp_ports=gateway.num_rtp_ports,
        files=least_files(gateway),
        resident_bytes=gateway.resident_bytes,
    )


def least_files(gateway: GatewayProcess) -> int:
    """Its file descriptors, without those that are just being closed: a leak is in every reading."""
    readings = []
    for _ in range(NUM_READINGS):
        time.sleep(READING_S)
        readings.append(gateway.num_open_files)
    return min(readings)


def one_call(address: tuple[str, int], seconds: float) -> str:
    """Call, speak and listen, hang up; what was wrong, or nothing."""
    end = RtpEnd()
    try:
        with SipPeer(address) as peer:
            answer = peer.call(sdp(end.port, end.codec))
            end.start((address[0], answer.media_port))
            time.sleep(seconds)
            status = peer.hang_up().status
    except TelephonyError as error:
        return str(error)
    finally:
        end.close()
    if status != 200:
        return f"BYE was answered with {status}"
    if not np.any(np.abs(end.heard()) > 0.02):
        return f"{len(end.received)} packets came, but no sound"
    return ""


def call_in_turn(
    gateway: GatewayProcess, outcome: Outcome, num_calls: int, num_slots: int, seconds: float
) -> None:
    """`num_calls` calls, `num_slots` at a time; memory is read when GROWTH_CALLS are left, and at the end."""
    weight = 0
    with Progress() as progress, ThreadPoolExecutor(num_slots) as callers:
        bar = progress.add_task(f"{num_calls} calls of {seconds:g} s", total=num_calls)
        for start in range(0, num_calls, num_slots):
            if num_calls - start <= GROWTH_CALLS and not weight:
                weight = gateway.resident_bytes
            size = min(num_slots, num_calls - start)
            for wrong in callers.map(lambda _: one_call(gateway.address, seconds), range(size)):
                outcome.failures += [wrong] if wrong else []
                outcome.num_good += not wrong
                progress.advance(bar)
    outcome.growth_bytes = gateway.resident_bytes - weight


def call_at_once(gateway: GatewayProcess, outcome: Outcome, num_calls: int) -> None:
    """`num_calls` calls, none of which ends before all have their answer."""
    peers = [SipPeer(gateway.address) for _ in range(num_calls)]
    answered: list[SipPeer] = []
    try:
        for peer in peers:
            peer.send("INVITE", body=sdp(peer.port + 1))
        for peer in peers:
            answer = peer.response("INVITE", 20.0)
            peer.acknowledge(answer)
            if answer.status == 200:
                answered.append(peer)
            else:
                again = answer.headers.get("retry-after", "")
                rang = any(message.status in (180, 183) for message in peer.seen)
                outcome.refusals.append((answer.status, int(again) if again.isdigit() else None, rang))
        for peer in answered:
            peer.hang_up()
    finally:
        for peer in peers:
            peer.close()
    outcome.num_answered_at_once = len(answered)


def measure(num_calls: int, seconds: float, num_slots: int, engine: str = "standin") -> Outcome:
    """Run both parts against a gateway of our own."""
    settings = {"OFFHOOK_WORKER__ENGINE": engine, "OFFHOOK_WORKER__SLOTS": str(num_slots)}
    outcome = Outcome()
    with GatewayProcess(settings) as gateway:
        _warm(gateway, num_slots)
        _settle()
        outcome.before = holding(gateway)
        call_in_turn(gateway, outcome, num_calls, num_slots, seconds)
        call_at_once(gateway, outcome, num_slots + SURPLUS)
        _settle()
        outcome.after = holding(gateway)
    return outcome


def _warm(gateway: GatewayProcess, num_slots: int) -> None:
    """As many first calls at once as there are slots: they open what stays open, pooled connections too."""
    with ThreadPoolExecutor(num_slots) as callers:
        for wrong in callers.map(lambda _: one_call(gateway.address, 1.0), range(num_slots)):
            if wrong:
                raise CallRefused(500, f"{wrong}; the gateway wrote:\n{gateway.log}")


def _settle() -> None:
    time.sleep(SETTLE_S)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=300, help="calls in turn (default 300)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each (default 3)")
    parser.add_argument("--slots", type=int, default=2, help="slots of the worker (default 2)")
    parser.add_argument("--engine", choices=("standin", "builtin"), default="standin")
    parser.add_argument("--json", type=Path, help="also write the outcome here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Print what was counted; 1 if anything leaked, failed or was refused wrongly."""
    outcome = measure(args.calls, args.seconds, args.slots, args.engine)
    faults = outcome.faults(args.slots)
    out = Console()
    out.print(
        f"{outcome.num_good} of {args.calls} calls good; last {GROWTH_CALLS}: {outcome.growth_bytes:+} bytes"
    )
    out.print(f"before {outcome.before}\nafter  {outcome.after}")
    out.print(f"at once: {outcome.num_answered_at_once} answered, refused {outcome.refusals}")
    for fault in faults:
        out.print(f"[red]{fault}")
    if args.json:
        args.json.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    return 1 if faults else 0
