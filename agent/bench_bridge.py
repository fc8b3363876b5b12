"""`offhook bench bridge`: how long sound takes between the network and the model, one way each.

Up: from the packet that holds a frame's last sample (stamped as it is sent) to the worker's collect.
Down: from the worker's deliver to the packet with the reply's first sample (stamped as it arrives).
The 80 ms in which a frame fills is in neither; it is the same in every 80 ms system, and reported.

A real gateway, real SIP and RTP, and a worker whose engine only watches: it notes when it was handed which
click, and sends clicks of its own. All stamps are CLOCK_MONOTONIC, which the processes of a machine share.
To prove that the measurement sees what it should, the peer then holds every packet back by a known time
outside its stamps: both ways must rise by that time, in full.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent import logs
from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import PACKET_S, PACKET_SAMPLES, RATE_HZ, RtpEnd, decode
from agent.bench_sip import SipPeer, sdp
from agent.errors import AgentError
from agent.wire import DEFAULT_PROFILE, FRAME_SAMPLES, PERIOD_S, SAMPLE_RATE_HZ
from agent.worker import SWITCH_INTERVAL_S
from agent.worker_address import WorkerAddress
from agent.worker_server import WorkerIdentity, WorkerServer
from model.control import CallProfile

if TYPE_CHECKING:
    from agent.tick_loop import Stepper

NUM_SLOTS = 4
BARS_MS = {"p50": 40.0, "p95": 60.0}
HOLDS_S = (0.04, 0.06, 0.08)
HOLD_TOLERANCE_MS = 8.0  # less than half a packet
CLICK_LEVEL = 0.15  # what counts as a click; a telephone line's noise is far below
CLICK_SPACING = 5_720  # samples at 8 kHz: 715 ms, so that clicks visit every place in a frame
BURST_FRAMES = 12  # the engine says something every 960 ms
BURST_SAMPLES = 960
PAD_TOKEN = 3
FRAME_AT_WIRE = FRAME_SAMPLES * RATE_HZ // SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class _Output:
    """As `model.engine.StepOutput`."""

    pcm: NDArray[np.float32]
    text: NDArray[np.int32]
    caller_text: NDArray[np.int32]
    tokens: NDArray[np.int16]


@dataclass(slots=True)
class Notes:
    """What the watching engine saw of one call; times by the monotonic clock."""

    heard: list[tuple[float, int]] = field(default_factory=list)  # collect, place of the click in the frame
    said: list[float] = field(default_factory=list)  # deliver of a frame whose first sample is loud
    frames: int = 0


class WatchingEngine:
    """A `Stepper` that notes each caller's clicks and says a burst every 960 ms; calls in order of start."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.calls: list[Notes] = []
        self._live: dict[int, Notes] = {}
        at = np.arange(BURST_SAMPLES) / SAMPLE_RATE_HZ
        self._burst = np.zeros(FRAME_SAMPLES, np.float32)
        self._burst[:BURST_SAMPLES] = 0.5 * np.cos(2 * np.pi * 1000 * at)

    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """A new call."""
        self._live[slot] = Notes()
        self.calls.append(self._live[slot])

    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """It says its bursts and nothing else."""

    def silence(self, slot: int, frames: int) -> None:
        """It says its bursts whatever it is told."""

    def age(self, frames: int) -> None:
        """It does not age."""

    def force_text(self, slot: int, token: int) -> None:
        """There is no text here."""

    def stop(self, slot: int) -> None:
        """The call is over; its notes are kept."""
        self._live.pop(slot, None)

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> _Output:
        """Note the clicks in float32 [S, 1920]; answer with silence or a burst."""
        collected_s = time.monotonic()
        size = self.num_slots
        out = np.zeros((size, FRAME_SAMPLES), np.float32)
        speaking: list[Notes] = []
        for slot in np.flatnonzero(active):
            notes = self._live[int(slot)]
            place = int(np.argmax(np.abs(pcm[slot])))
            if abs(float(pcm[slot, place])) > CLICK_LEVEL:
                notes.heard.append((collected_s, place))
            notes.frames += 1
            if notes.frames % BURST_FRAMES == 0:
                out[slot] = self._burst
                speaking.append(notes)
        text = np.where(active, PAD_TOKEN, -1).astype(np.int32)
        output = _Output(out, text, text, np.zeros((size, 17), np.int16))
        delivered_s = time.monotonic()
        for notes in speaking:
            notes.said.append(delivered_s)
        return output


def _work(address: str, pipe: Connection) -> None:
    """The worker's process: serve until told to end, hand over the notes whenever asked."""
    logs.configure("console", "warning")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.run(_serve(WorkerAddress.parse(address), pipe))


async def _serve(address: WorkerAddress, pipe: Connection) -> None:
    engine = WatchingEngine(NUM_SLOTS)
    stepper: Stepper = engine
    server = WorkerServer(stepper, WorkerIdentity("bench", "watching", 17))
    serving = asyncio.create_task(server.serve(address))
    while await asyncio.to_thread(pipe.recv) == "report":
        pipe.send(engine.calls)
        engine.calls = []
    server.stop()
    await serving


class WatchedWorker:
    """The worker's process, while open."""

    def __init__(self, address: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(address, theirs), daemon=True)
        self._process.start()

    def report(self) -> list[Notes]:
        """The notes of all calls since the last report, in the order in which they began."""
        self._pipe.send("report")
        notes: list[Notes] = self._pipe.recv()
        return notes

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send("end")
        self._process.join(10)
        self._process.kill()


@dataclass(slots=True)
class PeerCall:
    """One call as the peer made it."""

    clicks: list[int]  # places in what it said, at 8 kHz
    end: RtpEnd


@dataclass(frozen=True, slots=True)
class Round:
    """One-way delays in milliseconds, of each of NUM_SLOTS calls."""

    up_ms: list[list[float]]
    down_ms: list[list[float]]

    def rise_over(self, other: Round) -> dict[str, float]:
        """How much longer each way was than in another round: call by call, because each has its own phase.

        The median of the calls, because a jitter buffer may settle a packet deeper in one of two calls.
        """
        ways = {"up": (self.up_ms, other.up_ms), "down": (self.down_ms, other.down_ms)}
        return {
            way: float(np.median([np.median(one) - np.median(two) for one, two in zip(*pair, strict=True)]))
            for way, pair in ways.items()
        }


def up_delays_s(call: PeerCall, notes: Notes) -> list[float]:
    """From the packet that held a frame's last sample to that frame's collect, for each frame with a click.

    The click tells which of the peer's samples is the frame's last: the one (1919 - place) samples later.
    """
    sent = [item.at_s for item in call.end.sent]
    delays = []
    for collected_s, place in notes.heard:
        known = [click for click in call.clicks if sent[click // PACKET_SAMPLES] <= collected_s]
        if not known:
            continue
        last = known[-1] + (FRAME_SAMPLES - 1 - place) * RATE_HZ // SAMPLE_RATE_HZ
        delays.append(collected_s - sent[last // PACKET_SAMPLES])
    return delays


def down_delays_s(call: PeerCall, notes: Notes) -> list[float]:
    """From a burst's deliver to the first packet with sound in it."""
    loud = [
        item.at_s
        for item in call.end.received
        if np.max(np.abs(decode(item.packet.payload, call.end.codec)), initial=0.0) > CLICK_LEVEL
    ]
    delays = []
    for delivered_s in notes.said:
        after = [at_s for at_s in loud if at_s > delivered_s]
        if after and after[0] - delivered_s < BURST_FRAMES * PERIOD_S:
            delays.append(after[0] - delivered_s)
    return delays


def place_calls(gateway: GatewayProcess, seconds: float, hold_s: float, place: float) -> list[PeerCall]:
    """NUM_SLOTS calls at once, packets spread over 20 ms, the first call's at `place` (0..1) in them."""
    calls: list[PeerCall] = []
    with contextlib.ExitStack() as stack:
        for index in range(NUM_SLOTS):
            end = RtpEnd(hold_s=hold_s)
            stack.callback(end.close)
            peer = stack.enter_context(SipPeer(gateway.address))
            answer = peer.call(sdp(end.port, end.codec))
            stack.callback(peer.hang_up)
            clicks = [
                1_600 + CLICK_SPACING * number for number in range(int(seconds * RATE_HZ / CLICK_SPACING))
            ]
            said = np.zeros(clicks[-1] + RATE_HZ, np.float32)
            said[clicks] = 0.9
            end.play(said)
            phase_s = (place + index / NUM_SLOTS) * PACKET_S
            end.start((gateway.address[0], answer.media_port), _until_phase(phase_s))
            calls.append(PeerCall(clicks, end))
        time.sleep(seconds + 1.0)
    return calls


def _until_phase(phase_s: float) -> float:
    """Seconds until the monotonic clock next stands at this place within a packet's 20 ms."""
    return (phase_s - time.monotonic()) % PACKET_S


def measure(
    gateway: GatewayProcess, worker: WatchedWorker, seconds: float, hold_s: float, place: float
) -> Round:
    """One round of calls. Raises AgentError if a call lost every click."""
    gateway.wait_until_idle()
    worker.report()
    calls = place_calls(gateway, seconds, hold_s, place)
    notes = worker.report()
    assert len(notes) == len(calls), (len(notes), len(calls))
    pairs = list(zip(calls, notes, strict=True))
    up = [[1e3 * delay for delay in up_delays_s(*pair)] for pair in pairs]
    down = [[1e3 * delay for delay in down_delays_s(*pair)] for pair in pairs]
    if not all(up + down):
        raise AgentError(f"clicks were lost altogether (found per call: {[len(one) for one in up + down]})")
    return Round(up, down)


@contextlib.contextmanager
def watched_gateway() -> Iterator[tuple[GatewayProcess, WatchedWorker]]:
    """A gateway whose only worker is ours."""
    with tempfile.TemporaryDirectory(prefix="offhook-bench-") as folder:
        address = f"unix:{Path(folder) / 'worker.sock'}"
        worker = WatchedWorker(address)
        try:
            settings = {
                "OFFHOOK_WORKER__COUNT": "0",
                "OFFHOOK_WORKER__ADDRESSES": address,
                "OFFHOOK_WORKER__ENGINE": "standin",  # so that no tokenizer is looked for
            }
            with GatewayProcess(settings) as gateway:
                yield gateway, worker
        finally:
            worker.close()


@dataclass(frozen=True, slots=True)
class Figures:
    """The bench's result."""

    up_ms: dict[str, float]
    down_ms: dict[str, float]
    fill_ms: float
    samples: dict[str, int]
    injected_ms: dict[str, dict[str, float]]  # held back -> how much each way's median rose

    @property
    def is_within(self) -> bool:
        """True if both ways are under the bars and each injected delay shows in full."""
        bars = all(way[name] <= bar for way in (self.up_ms, self.down_ms) for name, bar in BARS_MS.items())
        return bars and all(
            abs(rise - float(held)) <= HOLD_TOLERANCE_MS
            for held, ways in self.injected_ms.items()
            for rise in ways.values()
        )


def run_rounds(seconds: float, num_rounds: int) -> Figures:
    """Measure without and with held packets, each round with a gateway whose clock stands elsewhere.

    Raises AgentError if the gateway will not start.
    """
    plain: list[Round] = []
    rises: dict[str, list[dict[str, float]]] = {}
    for number in track(range(num_rounds), f"{num_rounds} rounds of {NUM_SLOTS} calls, twice"):
        hold_s = HOLDS_S[number % len(HOLDS_S)]
        with watched_gateway() as (gateway, worker):
            place = number / num_rounds / NUM_SLOTS
            plain.append(measure(gateway, worker, seconds, 0.0, place))
            held = measure(gateway, worker, seconds, hold_s, place)
        rises.setdefault(f"{1e3 * hold_s:.0f}", []).append(held.rise_over(plain[-1]))
    injected = {
        held_ms: {way: float(np.median([rise[way] for rise in found])) for way in ("up", "down")}
        for held_ms, found in sorted(rises.items())
    }
    up = [delay for round_ in plain for call in round_.up_ms for delay in call]
    down = [delay for round_ in plain for call in round_.down_ms for delay in call]
    counts = {"up": len(up), "down": len(down)}
    return Figures(_spread(up), _spread(down), 1e3 * PERIOD_S, counts, injected)


def _spread(delays_ms: list[float]) -> dict[str, float]:
    p50, p95, worst = np.percentile(delays_ms, [50, 95, 100])
    return {"p50": float(p50), "p95": float(p95), "max": float(worst)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each call (default 8)")
    parser.add_argument(
        "--rounds", type=int, default=6, help=f"gateways, each with 2 x {NUM_SLOTS} calls (default 6)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Print the figures; 1 if a bar is missed."""
    figures = run_rounds(args.seconds, args.rounds)
    table = Table(title="bridge delay, ms (the frame's own 80 ms fill not in it)")
    for column in (
        "way",
        "p50",
        "p95",
        "max",
        "clicks",
        *(f"+{held} injected" for held in figures.injected_ms),
    ):
        table.add_column(column, justify="right")
    for way, spread in (("up", figures.up_ms), ("down", figures.down_ms)):
        rises = [f"{ways[way]:+.1f}" for ways in figures.injected_ms.values()]
        cells = [f"{spread[name]:.1f}" for name in ("p50", "p95", "max")]
        table.add_row(way, *cells, str(figures.samples[way]), *rises)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print("bars: p50 <= 40, p95 <= 60, injected delays in full:", "met" if figures.is_within else "MISSED")
    return 0 if figures.is_within else 1
