"""`offhook bench hostile`: broken packets, strangers, forged sound and slow connections beside live calls.

Each attack is sent by a process of its own while calls go on; what must hold under all of them: the gateway
lives and leaks nothing, every call goes on, its packets are not more than 5 ms late, and every forged one is
kept out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.attacks import FORGED, FUZZ, HELD_CONNECTIONS, Attack, Target, attacks
from agent.bench_calls import Holding, holding
from agent.bench_gateway import HOST, GatewayProcess
from agent.bench_rtp import PACKET_S, RATE_HZ, RtpEnd
from agent.bench_sip import SipPeer, sdp
from agent.metrics import GATE_REASONS
from telephony.errors import TelephonyError

MAX_LATE_S = 0.005
# In the second half of the fuzz: a gateway's pools have their size only after some hundred calls, as many as
# the first half brings about.
MAX_GROWTH_BYTES = 10_000_000
SETTLE_S = 35.0  # a call that is answered and never acknowledged is kept for 32 s (RFC 3261 timer H)


@dataclass(slots=True)
class Under:
    """How the calls fared under one attack."""

    name: str
    num_packets: int = 0
    seconds: float = 0.0
    late_p99_s: float = 0.0
    late_max_s: float = 0.0
    calls_alive: int = 0
    kept_out: dict[str, int] = field(default_factory=dict)
    resident_bytes: int = 0  # of the gateway, afterwards


@dataclass(slots=True)
class Outcome:
    """The bench's result."""

    num_calls: int
    phases: list[Under] = field(default_factory=list)
    before: Holding | None = None
    after: Holding | None = None
    is_running: bool = True
    failures: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What did not hold, in words; empty when all is well."""
        found = list(self.failures)
        if not self.is_running:
            found.append("the gateway has ended")
        for phase in self.phases:
            if phase.calls_alive < self.num_calls:
                found.append(f"{phase.name}: {phase.calls_alive} of {self.num_calls} calls went on")
            num_let_in = phase.num_packets - phase.kept_out.get("foreign_rtp", 0)
            if phase.name == FORGED and num_let_in:
                found.append(f"{num_let_in} forged packets were not kept out")
            if phase.late_p99_s > MAX_LATE_S:
                found.append(f"{phase.name}: a packet in a hundred was {phase.late_p99_s * 1e3:.1f} ms late")
        if self.before is not None and self.after is not None:
            for name in ("slots", "calls", "rtp_ports", "files"):
                had, has = getattr(self.before, name), getattr(self.after, name)
                if has > had:
                    found.append(f"{has - had} {name} leaked")
        sizes = [phase.resident_bytes for phase in self.phases if phase.name in FUZZ]
        if len(sizes) == 2 and sizes[1] - sizes[0] > MAX_GROWTH_BYTES:
            found.append(f"memory grew by {sizes[1] - sizes[0]} bytes in the second half of the fuzz")
        return found


@dataclass(slots=True)
class LiveCall:
    """One call that must not notice."""

    peer: SipPeer
    end: RtpEnd
    port: int

    def lateness_s(self, since_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """How much later than the earliest of its own clock each packet since then came."""
        came = [
            (item.at_s, item.packet.timestamp) for item in list(self.end.received) if item.at_s >= since_s
        ]
        if not came:
            return np.zeros(0)
        first = came[0][1]
        offsets = np.array([at_s - ((stamp - first) % 2**32) / RATE_HZ for at_s, stamp in came])
        return np.asarray(offsets - np.min(offsets))


def open_calls(gateway: GatewayProcess, num_calls: int) -> list[LiveCall]:
    """So many calls of silent callers. Raises TelephonyError if one is refused."""
    calls = []
    for _ in range(num_calls):
        end, peer = RtpEnd(), SipPeer(gateway.address)
        answer = peer.call(sdp(end.port, end.codec))
        end.start((HOST, answer.media_port))
        calls.append(LiveCall(peer, end, answer.media_port))
    return calls


def suffer(gateway: GatewayProcess, calls: Sequence[LiveCall], attack: Attack, seed: int) -> Under:
    """One attack, and how the calls fared."""
    target = Target(gateway.address, gateway.sip_port, tuple((HOST, call.port) for call in calls))
    before = kept_out(gateway)
    work = (target, attack.num_packets, attack.rate_per_s, seed)
    sender = multiprocessing.get_context("spawn").Process(target=attack.send, args=work)
    sender.start()
    began_s = time.monotonic()
    while sender.is_alive() and gateway.is_running:
        sender.join(0.2)
    if sender.is_alive():
        sender.terminate()
    sender.join()
    ended_s = time.monotonic()
    time.sleep(0.2)
    after = kept_out(gateway) if gateway.is_running else before
    late = [call.lateness_s(began_s) for call in calls]
    due = 0.8 * (ended_s - began_s) / PACKET_S
    everything = np.concatenate(late)
    return Under(
        attack.name,
        attack.num_packets,
        ended_s - began_s,
        float(np.percentile(everything, 99)) if len(everything) else 0.0,
        float(np.max(everything)) if len(everything) else 0.0,
        sum(len(one) >= due for one in late),
        {name: after[name] - before[name] for name in after if after[name] > before[name]},
        holding(gateway).resident_bytes if gateway.is_running else 0,
    )


def kept_out(gateway: GatewayProcess) -> dict[str, int]:
    """What the gate has counted so far."""
    found = {"foreign_rtp": round(gateway.metric("offhook_rtp_foreign_packets_total"))}
    for line in gateway.get("/metrics").splitlines():
        for reason in GATE_REASONS:
            if line.startswith(f'offhook_sip_kept_out_total{{reason="{reason}"}}'):
                found[reason] = round(float(line.rsplit(" ", 1)[1]))
    return found


def measure(num_calls: int, plan: Sequence[Attack], seed: int, settle_s: float = SETTLE_S) -> Outcome:
    """Run them all, one after the other, against a gateway of our own."""
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(num_calls + 2),
        "OFFHOOK_SIP__ALLOWED_PEERS": "127.0.0.0/24",
        "OFFHOOK_SIP__GATE__PEER_REQUESTS_PER_S": "100000",  # the parsers are to be tried, not the limit
        "OFFHOOK_SIP__GATE__MAX_CONNECTIONS_PER_SOURCE": str(HELD_CONNECTIONS // 2),
        "OFFHOOK_SIP__GATE__MESSAGE_TIMEOUT_S": "5",
        "OFFHOOK_LOG__LEVEL": "error",
    }
    outcome = Outcome(num_calls)
    with GatewayProcess(settings) as gateway:
        warm = open_calls(gateway, num_calls)
        close(warm, outcome)
        gateway.wait_until_idle()
        outcome.before = holding(gateway)
        calls = open_calls(gateway, num_calls)
        for number, attack in enumerate(plan):
            outcome.phases.append(suffer(gateway, calls, attack, seed + number))
        close(calls, outcome)
        outcome.is_running = gateway.is_running
        if outcome.is_running:
            time.sleep(settle_s)
            outcome.after = holding(gateway)
    return outcome


def close(calls: Sequence[LiveCall], outcome: Outcome) -> None:
    """End them, each properly."""
    for call in calls:
        with contextlib.ExitStack() as stack:
            stack.callback(call.peer.close)
            stack.callback(call.end.close)
            try:
                status = call.peer.hang_up().status
            except TelephonyError as error:
                outcome.failures.append(str(error))
                continue
            if status != 200:
                outcome.failures.append(f"BYE was answered with {status}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--packets", type=int, default=1_000_000, help="broken ones (default 1,000,000)")
    parser.add_argument("--rate", type=float, default=2_000.0, help="of them a second (default 2000)")
    parser.add_argument("--strangers", type=int, default=10_000, help="INVITEs at 500/s (default 10,000)")
    parser.add_argument("--calls", type=int, default=4, help="that go on meanwhile (default 4)")
    parser.add_argument("--seed", type=int, default=4475, help="of the broken packets (default 4475)")
    parser.add_argument("--json", type=Path, help="also write the outcome here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Print how the calls fared; 1 if anything ended, leaked, was late or was heard wrongly."""
    outcome = measure(args.calls, attacks(args.packets, args.strangers, args.rate), args.seed)
    table = Table("attack", "packets", "s", "late p99, ms", "max", "calls", "MB", "kept out")
    for phase in outcome.phases:
        counts = ", ".join(f"{name} {count}" for name, count in phase.kept_out.items())
        late = (f"{phase.late_p99_s * 1e3:.1f}", f"{phase.late_max_s * 1e3:.1f}")
        row = (
            phase.name,
            str(phase.num_packets),
            f"{phase.seconds:.0f}",
            *late,
            str(phase.calls_alive),
            f"{phase.resident_bytes / 1e6:.0f}",
            counts,
        )
        table.add_row(*row)
    out = Console()
    out.print(table)
    out.print(f"before {outcome.before}\nafter  {outcome.after}")
    faults = outcome.faults()
    for fault in faults:
        out.print(f"[red]{fault}")
    if args.json:
        args.json.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    return 1 if faults else 0
