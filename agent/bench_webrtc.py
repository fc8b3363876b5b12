"""`offhook bench webrtc`: the response gap of WebRTC calls beside SIP calls, on the same turns and networks.

A caller hums at known times; the gateway answers. The gap runs from the packet that holds the hum's last
sample, stamped as it is sent, to the first packet with the answer's sound, stamped as it arrives: all that
the gateway adds, its jitter buffer included, and no buffer of the caller's. Neither kind of caller shares
code with the gateway's media. Networks lose and delay media packets in user space, both ways; in the second
half of a call they are clean again, and gaps are counted once 5 s of that have passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.bench_gateway import GatewayProcess
from agent.bench_impairment import Impairment
from agent.bench_rtp import PACKET_S, RATE_HZ, RtpEnd, decode
from agent.bench_sip import SipPeer, sdp
from agent.bench_web import WebPeer
from agent.latency import percentile

NETWORKS = (
    Impairment(),
    Impairment(loss=0.01),
    Impairment(loss=0.05),
    Impairment(jitter_s=0.06),
)
TRANSPORTS = ("sip", "webrtc")
HUM_HZ, HUM_LEVEL, HUM_S = 300.0, 0.2, 0.8
TURN_S = 2.74  # whole packets, no whole frames: turns visit every place in a frame
GREETING_S = 2.4  # the agent's greeting is over by then
ANSWER_S = 1.8  # an answer comes within this, or the turn is missed
PAUSE_S = 0.5  # between two of the agent's lines, at least
VOICED = 0.02  # RMS of a packet with the answer's sound
CLEAN_AFTER_S = 5.0
END_S = 0.2  # beyond the last turn, which has its answer's time in it
BARS_MS = {"beside SIP, clean": 80.0, "more at 5 % loss": 100.0, "more 5 s after": 40.0}
Pcm = NDArray[np.float32]


@dataclass(slots=True)
class Gaps:
    """What the callers of one kind met in one network."""

    during_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)  # once the network is clean again
    missed: int = 0
    caption_lags_s: list[float] = field(default_factory=list)  # WebRTC: the agent's words behind their sound

    def add(self, other: Gaps) -> None:
        """Take another call's."""
        self.during_s += other.during_s
        self.after_s += other.after_s
        self.missed += other.missed
        self.caption_lags_s += other.caption_lags_s


def script(num_turns: int, rate_hz: int) -> tuple[Pcm, list[int]]:
    """What a caller says, float32 [T], and the sample at which each hum ends."""
    pcm = np.zeros(round((GREETING_S + num_turns * TURN_S) * rate_hz), np.float32)
    hum = HUM_LEVEL * np.sin(2 * np.pi * HUM_HZ * np.arange(round(HUM_S * rate_hz)) / rate_hz)
    ends = []
    for turn in range(num_turns):
        first = round((GREETING_S + turn * TURN_S) * rate_hz)
        pcm[first : first + len(hum)] = hum
        ends.append(first + len(hum))
    return pcm, ends


def gaps_of(ends_s: Sequence[float], voiced_s: Sequence[float], clean_from_s: float) -> Gaps:
    """The gap of each turn, by whether the network was bad or has been clean for a while."""
    gaps = Gaps()
    for end_s in ends_s:
        answer_s = next((at_s for at_s in voiced_s if end_s < at_s < end_s + ANSWER_S), None)
        if answer_s is None:
            gaps.missed += 1
        elif end_s < clean_from_s:
            gaps.during_s.append(answer_s - end_s)
        elif end_s > clean_from_s + CLEAN_AFTER_S:
            gaps.after_s.append(answer_s - end_s)
    return gaps


def is_voiced(pcm: Pcm) -> bool:
    """Whether a packet holds sound."""
    return bool(len(pcm)) and float(np.sqrt(np.mean(np.square(pcm)))) > VOICED


def halved(network: Impairment, num_turns: int) -> Impairment:
    """The same network for the first half of a call's turns, the greeting included."""
    if network == Impairment():
        return network
    return replace(network, lasts_s=GREETING_S + num_turns // 2 * TURN_S)


def sip_call(gateway: GatewayProcess, network: Impairment, num_turns: int, seed: int) -> Gaps:
    """One call by SIP. Raises CallRefused."""
    pcm, ends = script(num_turns, RATE_HZ)
    end = RtpEnd(impairment=halved(network, num_turns), seed=seed)
    try:
        with SipPeer(gateway.address) as peer:
            answer = peer.call(sdp(end.port, end.codec))
            end.play(pcm)
            end.start((gateway.address[0], answer.media_port))
            time.sleep(len(pcm) / RATE_HZ + END_S)
            peer.hang_up()
    finally:
        end.close()
    sent_s = [item.at_s for item in end.sent]
    voiced_s = [item.at_s for item in end.received if is_voiced(decode(item.packet.payload, end.codec))]
    per_packet = round(PACKET_S * RATE_HZ)
    ends_s = [sent_s[(sample - 1) // per_packet] for sample in ends]
    return gaps_of(ends_s, voiced_s, sent_s[0] + halved(network, num_turns).lasts_s)


async def web_call(gateway: GatewayProcess, network: Impairment, num_turns: int, seed: int) -> Gaps:
    """One call by WebRTC. Raises WorkerUnavailable if it is refused."""
    rate_hz = 24_000
    pcm, ends = script(num_turns, rate_hz)
    async with WebPeer(gateway.url, gateway.key, halved(network, num_turns), seed) as peer:
        await peer.call()
        first = peer.microphone.say(pcm)
        await asyncio.sleep(len(pcm) / rate_hz + END_S)
        peer.send("session.close")
        await peer.wait("session.closed")
        per_packet = round(PACKET_S * rate_hz)
        ends_s = [peer.sent_s[first + (sample - 1) // per_packet] for sample in ends]
        voiced_s = [at_s for at_s, sound in peer.received if is_voiced(sound)]
        gaps = gaps_of(ends_s, voiced_s, peer.sent_s[0] + halved(network, num_turns).lasts_s)
        gaps.caption_lags_s = caption_lags(peer, voiced_s)
    return gaps


def caption_lags(peer: WebPeer, voiced_s: Sequence[float]) -> list[float]:
    """How long after its first sound each of the agent's lines was captioned; negative: before."""
    onsets = [
        at_s for before_s, at_s in zip([0.0, *voiced_s], voiced_s, strict=False) if at_s - before_s > 0.5
    ]
    lags = []
    for event in peer.events:
        if event["type"] == "session.output_transcript.delta" and event["delta"].startswith(" line"):
            at_s = peer.event_times_s[event["event_id"]]
            nearest = min(onsets, key=lambda onset: abs(onset - at_s), default=None)
            if nearest is not None:
                lags.append(at_s - nearest)
    return lags


async def measure(
    gateway: GatewayProcess, network: Impairment, num_calls: int, num_turns: int
) -> dict[str, Gaps]:
    """The same turns by both transports at once, half of the calls by each."""
    found = {transport: Gaps() for transport in TRANSPORTS}
    jobs: list[asyncio.Future[Gaps]] = []
    for seed in range(num_calls):
        jobs.append(asyncio.ensure_future(asyncio.to_thread(sip_call, gateway, network, num_turns, seed)))
        jobs.append(asyncio.ensure_future(web_call(gateway, network, num_turns, seed)))
        await asyncio.sleep(0.117)  # so that calls stand apart in the frame and the tick
    for number, gaps in enumerate(await asyncio.gather(*jobs)):
        found[TRANSPORTS[number % 2]].add(gaps)
    await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 0)
    return found


def spread_ms(values_s: Sequence[float]) -> str:
    """Median and 95th percentile."""
    if not values_s:
        return "-"
    return f"{1e3 * percentile(values_s, 0.5):.0f}, {1e3 * percentile(values_s, 0.95):.0f}"


def differences_ms(results: dict[str, dict[str, Gaps]]) -> dict[str, float]:
    """What the bars are about: medians against medians."""
    clean = results[Impairment().name]
    lossy = results[Impairment(loss=0.05).name]["webrtc"]
    base_s = statistics.median(clean["webrtc"].during_s)
    return {
        "beside SIP, clean": 1e3 * abs(base_s - statistics.median(clean["sip"].during_s)),
        "more at 5 % loss": 1e3 * (statistics.median(lossy.during_s) - base_s),
        "more 5 s after": 1e3 * (statistics.median(lossy.after_s) - base_s),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=4, help="calls at once by each transport (default 4)")
    parser.add_argument("--turns", type=int, default=20, help="turns in each call (default 20)")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Print the figures; 1 if a bar is missed."""
    own = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_WORKER__SLOTS": str(2 * args.calls)}
    results: dict[str, dict[str, Gaps]] = {}
    with GatewayProcess(own) as gateway:
        for network in track(NETWORKS, f"{len(NETWORKS)} networks, {2 * args.calls} calls each"):
            results[network.name] = asyncio.run(measure(gateway, network, args.calls, args.turns))
    table = Table(title="response gap at the network's edge, ms (p50, p95)")
    for column in ("network", "transport", "gap", "5 s after", "turns", "missed"):
        table.add_column(column, justify="right")
    for name, by_transport in results.items():
        for transport, gaps in by_transport.items():
            turns = len(gaps.during_s) + len(gaps.after_s)
            cells = [spread_ms(gaps.during_s), spread_ms(gaps.after_s), str(turns), str(gaps.missed)]
            table.add_row(name, transport, *cells)
    Console().print(table)
    lags = results[Impairment().name]["webrtc"].caption_lags_s
    print(f"captions of the agent's lines behind their sound, clean: {spread_ms(lags)} ms (p50, p95)")
    found = differences_ms(results)
    is_met = all(found[name] <= bar for name, bar in BARS_MS.items())
    for name, bar in BARS_MS.items():
        print(f"{name}: {found[name]:+.0f} ms (bar {bar:.0f})")
    if args.json:
        args.json.write_text(json.dumps({"bars_ms": found, "gaps_s": _plain(results)}, indent=2) + "\n")
    print("bars:", "met" if is_met else "MISSED")
    return 0 if is_met else 1


def _plain(results: dict[str, dict[str, Gaps]]) -> dict[str, dict[str, dict[str, object]]]:
    return {
        name: {
            transport: {"during": gaps.during_s, "after": gaps.after_s, "missed": gaps.missed}
            for transport, gaps in by_transport.items()
        }
        for name, by_transport in results.items()
    }
