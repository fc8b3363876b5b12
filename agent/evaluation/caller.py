"""`offhook call`: a test caller that plays a recording, records both channels and reports who spoke when."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.energy_gate import EnergyGate, Pcm, Segment
from agent.errors import AgentError, AudioFileError
from agent.evaluation.placed_call import (
    ANSWER_S,
    FRAME_S,
    PlacedCall,
    calling_end,
    place_call,
    read_audio,
    write_channels,
)
from agent.evaluation.scores import score_barge_in, score_turn, spread
from agent.evaluation.segments import overlaps, speech_segments, turns_of
from agent.settings import Settings
from telephony.endpoint import FRAME_SAMPLES
from telephony.settings import CODECS
from telephony.sip_uri import checked_uri

GREETING_WAIT_S = 8.0
GREETING_END_S = 0.6  # silence that ends the agent's greeting
LISTEN_ON_S = 6.0  # after our recording, unless --duration says otherwise
SILENT_CALL_S = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `offhook call`."""
    parser.add_argument("uri", metavar="SIP_URI", help="whom to call, like sip:order@127.0.0.1:5060")
    parser.add_argument(
        "--play", type=Path, metavar="FILE", help="what the caller says (silence if not given)"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="both channels, caller left: .wav or .flac"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report, for programs")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="hang up after so long")
    parser.add_argument(
        "--wait-for-greeting", action="store_true", help="speak once the other side has greeted"
    )
    parser.add_argument("--answer-within", type=float, default=ANSWER_S, metavar="SECONDS")
    parser.add_argument("--codec", choices=CODECS, default="PCMU")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Place the call and report; 0 if the other side was heard to speak, else 1."""
    uri = checked_uri(args.uri)
    pcm = read_audio(args.play) if args.play else np.zeros(0, np.float32)
    for path in (args.record, args.json):
        if path and not path.parent.is_dir():
            raise AudioFileError(f"there is no folder {path.parent} for {path.name}; make it first")
    player = Player(pcm, args.wait_for_greeting, args.duration)
    call = asyncio.run(_call(uri, player, args.codec, args.answer_within))
    caller, agent = call.tape.channels()
    report = make_report(caller, agent, call)
    if args.record:
        write_channels(args.record, caller, agent)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _print(report)
    return 0 if report["agent_segments"] else 1


async def _call(uri: str, player: Player, codec: str, answer_s: float) -> PlacedCall:
    async with calling_end((codec,)) as phone:
        try:
            return await place_call(phone, uri, player, player.limit_s, answer_s)
        except TimeoutError:
            raise AgentError(
                f"{uri} did not answer in {answer_s:g} s; is `offhook serve` running there?"
            ) from None


class Player:
    """A speaker that plays one recording in real time, from the start or after the greeting."""

    def __init__(self, pcm: Pcm, waits_for_greeting: bool, duration_s: float | None) -> None:
        self._pcm = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        self._next = 0
        self._gate = EnergyGate()
        self._is_due = not waits_for_greeting
        self._heard_s = 0.0
        listen_s = LISTEN_ON_S if len(pcm) else SILENT_CALL_S
        wait_s = GREETING_WAIT_S if waits_for_greeting else 0.0
        self.limit_s = duration_s or len(self._pcm) * FRAME_S + wait_s + listen_s
        self._listen_s = None if duration_s else listen_s

    def __call__(self, heard: Pcm) -> Pcm | None:
        """The next frame of the recording, or silence; None once all is said and listened to."""
        self._heard_s += FRAME_S
        self._gate.push(heard)
        if not self._is_due:
            greeted = self._gate.silent_for_s < self._heard_s - FRAME_S
            self._is_due = (greeted and self._gate.silent_for_s > GREETING_END_S) or (
                self._heard_s > GREETING_WAIT_S
            )
        if self._is_due and self._next < len(self._pcm):
            self._next += 1
            frame: Pcm = self._pcm[self._next - 1]
            return frame
        if self._is_due and self._next == len(self._pcm) and self._listen_s is not None:
            self._listen_s -= FRAME_S
            if self._listen_s <= 0:
                return None
        return np.zeros(FRAME_SAMPLES, np.float32)


@dataclass(frozen=True, slots=True)
class _Both:
    caller: Sequence[Segment]
    agent: Sequence[Segment]
    seconds: float


def make_report(caller: Pcm, agent: Pcm, call: PlacedCall | None = None) -> dict[str, Any]:
    """Who spoke when, gaps, overlaps and stops, in seconds from the first frame; both sides by the gate."""
    both = _Both(speech_segments(caller), speech_segments(agent), len(caller) / 24_000)
    report: dict[str, Any] = {
        "seconds": round(both.seconds, 3),
        "caller_segments": _pairs(both.caller),
        "agent_segments": _pairs(both.agent),
        "overlaps": _pairs(overlaps(both.caller, both.agent)),
        "turns": _turns(both),
    }
    if call is not None and call.ended is not None:
        stats = call.stats
        report["ended"] = {
            "by": "caller" if call.is_ended_by_us else "agent",
            "code": call.ended.code, "reason": call.ended.reason,
        }  # fmt: skip
        report["line"] = {
            "codec": stats.codec, "packets": stats.rx_packets, "lost": stats.rx_lost,
            "jitter_s": round(stats.rx_jitter_s, 4), "jitter_buffer_s": round(stats.jitter_buffer_s, 3),
        }  # fmt: skip
    return report


def _turns(both: _Both) -> list[dict[str, Any]]:
    turns = turns_of(both.caller)
    rows: list[dict[str, Any]] = []
    ends_s = [turn.start_s for turn in turns[1:]] + [both.seconds] * bool(turns)  # a caller may say nothing
    for turn, until_s in zip(turns, ends_s, strict=True):
        trial = score_barge_in(turn.start_s, both.agent)
        score = score_turn(turn, both.agent, until_s, trial if trial.is_eligible else None)
        rows.append({
            "start_s": round(turn.start_s, 3), "end_s": round(turn.end_s, 3), "pauses": _pairs(turn.pauses),
            "gap_s": _rounded(score.gap_s), "is_miss": score.is_miss,
            "early_starts": [round(at_s, 3) for at_s in score.early_starts],
            "is_interruption": trial.is_eligible, "stop_s": _rounded(trial.stop_s),
        })  # fmt: skip
    return rows


def _pairs(segments: Sequence[Segment]) -> list[list[float]]:
    return [[round(one.start_s, 3), round(one.end_s, 3)] for one in segments]


def _rounded(value_s: float | None) -> float | None:
    return None if value_s is None else round(value_s, 3)


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("turn", "from", "to", "answered after", "early", "interrupted: stopped after")
    for number, turn in enumerate(report["turns"], start=1):
        stop = "-" if not turn["is_interruption"] else _ms(turn["stop_s"], "did not stop")
        gap = _ms(turn["gap_s"], "no answer" if turn["is_miss"] else "-")
        early = str(len(turn["early_starts"]) or "-")
        table.add_row(str(number), f"{turn['start_s']:.2f} s", f"{turn['end_s']:.2f} s", gap, early, stop)
    console.print(table)
    gaps = spread([turn["gap_s"] for turn in report["turns"] if turn["gap_s"] is not None])
    overlap_s = sum(end - start for start, end in report["overlaps"])
    line = f"{report['seconds']:.1f} s; {len(report['agent_segments'])} stretches of the other side's speech"
    if gaps.num:
        line += f"; gap {gaps.p50 * 1000:.0f} ms at the median of {gaps.num}"
    console.print(f"{line}; overlap {overlap_s:.2f} s", highlight=False)
    if "ended" in report:
        ended, wire = report["ended"], report["line"]
        console.print(
            f"ended by the {ended['by']} ({ended['code']} {ended['reason']}); {wire['codec']}, "
            f"{wire['packets']} packets, {wire['lost']} lost, jitter {wire['jitter_s'] * 1000:.1f} ms",
            highlight=False,
        )


def _ms(value_s: float | None, otherwise: str) -> str:
    return otherwise if value_s is None else f"{value_s * 1000:.0f} ms"
