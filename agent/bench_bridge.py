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
from collections.abc import Iterator
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
from agent.bench_rtp import PACKET_SAMPLES, RATE_HZ, RtpEnd, decode
from agent.bench_sip import SipPeer, sdp
from agent.wire import FRAME_SAMPLES, PERIOD_S, SAMPLE_RATE_HZ
from agent.worker import SWITCH_INTERVAL_S
from agent.worker_address import WorkerAddress
from agent.worker_server import WorkerIdentity, WorkerServer

if TYPE_CHECKING:
    from agent.tick_loop import Stepper

NUM_SLOTS = 4
BARS_MS = {"p50": 40.0, "p95": 60.0}
HOLDS_S = (0.04, 0.06, 0.08)
HOLD_TOLERANCE_MS = 3.0
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
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """A new call."""
        self._live[slot] = Notes()
        self.calls.append(self._live[slot])

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
class Delays:
    """One-way delays in milliseconds."""

    up_ms: list[float]
    down_ms: list[float]


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


def place_calls(gateway: GatewayProcess, seconds: float, hold_s: float, round_: int) -> list[PeerCall]:
    """NUM_SLOTS calls at once, their packets spread evenly between two ticks of the clock."""
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
            place = (index + round_ / 2) / NUM_SLOTS * PACKET_SAMPLES / RATE_HZ
            end.start((gateway.address[0], answer.media_port), _until_phase(place))
            calls.append(PeerCall(clicks, end))
        time.sleep(seconds + 1.0)
    return calls


def _until_phase(place_s: float) -> float:
    """Seconds until the monotonic clock next stands at this place within a packet's 20 ms."""
    return (place_s - time.monotonic()) % (PACKET_SAMPLES / RATE_HZ)


def measure(
    gateway: GatewayProcess, worker: WatchedWorker, seconds: float, hold_s: float, round_: int
) -> Delays:
    """One round of calls."""
    gateway.wait_until_idle()
    worker.report()
    calls = place_calls(gateway, seconds, hold_s, round_)
    notes = worker.report()
    assert len(notes) == len(calls), (len(notes), len(calls))
    pairs = list(zip(calls, notes, strict=True))
    return Delays(
        [1e3 * delay for pair in pairs for delay in up_delays_s(*pair)],
        [1e3 * delay for pair in pairs for delay in down_delays_s(*pair)],
    )


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
    """Measure without and with held packets. Raises AgentError if the gateway will not start."""
    with watched_gateway() as (gateway, worker):
        plain = [
            measure(gateway, worker, seconds, 0.0, round_) for round_ in track(range(num_rounds), "as it is")
        ]
        held = {
            hold_s: measure(gateway, worker, seconds, hold_s, 0)
            for hold_s in track(HOLDS_S, "with known delay")
        }
    first = plain[0]  # the same phases as the rounds with held packets
    injected = {
        f"{1e3 * hold_s:.0f}": {
            "up": float(np.median(delays.up_ms) - np.median(first.up_ms)),
            "down": float(np.median(delays.down_ms) - np.median(first.down_ms)),
        }
        for hold_s, delays in held.items()
    }
    up = [delay for delays in plain for delay in delays.up_ms]
    down = [delay for delays in plain for delay in delays.down_ms]
    counts = {"up": len(up), "down": len(down)}
    return Figures(_spread(up), _spread(down), 1e3 * PERIOD_S, counts, injected)


def _spread(delays_ms: list[float]) -> dict[str, float]:
    p50, p95, worst = np.percentile(delays_ms, [50, 95, 100])
    return {"p50": float(p50), "p95": float(p95), "max": float(worst)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each call (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help=f"rounds of {NUM_SLOTS} calls (default 3)")
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
