"""`offhook demo`: one scripted order over real SIP, told as it happens, then drawn.

Starts a line of its own, calls it, prints both sides' transcripts while they speak, and leaves two pictures:
the call, and its response gaps on a ruler.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from rich.console import Console
from rich.markup import escape
from scipy.signal import correlate, correlation_lags

from agent.bench_gateway import GatewayProcess
from agent.energy_gate import Pcm, Segment
from agent.errors import AgentError, AudioFileError
from agent.evaluation.outcome import PlacedTurn, place_turns
from agent.evaluation.picture import CallPicture, draw_call, draw_ruler
from agent.evaluation.placed_call import PlacedCall, calling_end, place_call, write_channels
from agent.evaluation.quick import own_line
from agent.evaluation.scores import response_gap, score_barge_in
from agent.evaluation.script import Manner, ScriptedCaller, SpokenStep, Step, speak_step
from agent.evaluation.segments import SAMPLE_RATE_HZ, overlaps, speech_segments
from agent.settings import Settings
from agent.transcript import Speaker, TimedWord
from model.order_line import Intent, Order, Request
from model.voices import Voice

if TYPE_CHECKING:
    from telephony.sip import SipGateway

LIMIT_S = 90.0
FOLLOW_S = 0.2
CALLER_VOICE = Voice("flite", "kal")  # held out from training, as all callers here are
LATTE = Order("latte", "large", "soy milk")
STEPS = (
    Step(Request(Intent.ORDER, "hi can I get a large latte with soy milk please", LATTE), has_pause=True),
    Step(Request(Intent.YES, "yes that's right")),
    Step(Request(Intent.HOURS, "when are you open"), Manner.CUT_IN),
    Step(Request(Intent.WHERE, "where are you")),
    Step(Request(Intent.GOODBYE, "thank you goodbye")),
)  # fmt: skip

console = Console()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `offhook demo`."""
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="pictures and recordings go here")
    parser.add_argument("--seed", type=int, default=1, help="where the caller pauses, and for how long")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Serve, call, print, draw; 0 if the agent answered every turn."""
    folder: Path = args.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioFileError(f"cannot write to {folder}: {error}; choose another --folder") from None
    steps = make_steps(args.seed)
    console.print("starting a line of our own ...", style="dim")
    with own_line(1, **_told(folder)) as line:
        console.print(f"calling {line.uri}", style="dim")
        caller, call = asyncio.run(_call(line, steps))
    left, right = call.tape.channels()
    write_channels(folder / "call.flac", left, right)
    placed = place_turns(caller.said, left)
    words = shifted_words(folder, right)
    return _tell(folder, left, right, placed, words)


def make_steps(seed: int) -> list[SpokenStep]:
    """The demo's turns, spoken by a caller who thinks while ordering, and who interrupts."""
    rng = random.Random(seed)
    return [speak_step(step, CALLER_VOICE, rng, rate=1.05, pitch=1.0, level_dbfs=-24.0) for step in STEPS]


def _told(folder: Path) -> dict[str, str]:
    """Settings of a line that tells what is said, and records."""
    return {
        "OFFHOOK_LOG__FORMAT": "json",
        "OFFHOOK_LOG__PII": "true",
        "OFFHOOK_RECORDING__FOLDER": str((folder / "recordings").resolve()),
        "OFFHOOK_RECORDING__CONSENT": "true",
    }


async def _call(line: GatewayProcess, steps: Sequence[SpokenStep]) -> tuple[ScriptedCaller, PlacedCall]:
    caller = ScriptedCaller(steps)
    async with calling_end() as phone, asyncio.TaskGroup() as group:
        telling = group.create_task(_follow(line))
        call = await _place(phone, line, caller)
        await asyncio.sleep(1.5)  # the last words' log lines
        telling.cancel()
    return caller, call


async def _place(phone: SipGateway, line: GatewayProcess, caller: ScriptedCaller) -> PlacedCall:
    try:
        return await place_call(phone, line.uri, caller, LIMIT_S)
    except TimeoutError:
        raise AgentError(f"our own line did not answer; it wrote:\n{line.log}") from None


async def _follow(line: GatewayProcess) -> None:
    """Print each line of the dialogue as soon as it is complete."""
    with line.log_path.open(encoding="utf-8", errors="replace") as log:
        rest = ""
        while True:
            rest += log.read()
            *whole, rest = rest.split("\n")
            for text in whole:
                _print_said(text)
            await asyncio.sleep(FOLLOW_S)


def _print_said(text: str) -> None:
    try:
        event = json.loads(text)
    except ValueError:
        return
    if not isinstance(event, dict) or event.get("event") != "said":
        return
    is_caller = event["speaker"] == Speaker.CALLER
    who, colour = ("caller", "red3") if is_caller else ("agent", "dodger_blue2")
    said = escape(str(event.get("pii_text", "")))
    console.print(f"[dim]{event['start_s']:6.2f} s[/]  [bold {colour}]{who:>6}[/]  {said}", highlight=False)


def shifted_words(folder: Path, agent: Pcm) -> list[TimedWord]:
    """Both transcripts from the line's own recording, on the clock of the caller's end, by correlation."""
    sidecars = sorted((folder / "recordings").glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not sidecars:
        raise AgentError(f"the line left no recording in {folder / 'recordings'}; is the disk full?")
    sidecar: dict[str, Any] = json.loads(sidecars[-1].read_text(encoding="utf-8"))
    sound, _rate_hz = soundfile.read(sidecars[-1].with_name(sidecar["audio"]), dtype="float32")
    late_s = _delay_s(np.ascontiguousarray(sound[:, 1]), agent)
    return [
        TimedWord(Speaker(word["speaker"]), word["text"], word["start_s"] + late_s, word["end_s"] + late_s)
        for word in sidecar["words"]
    ]


def _delay_s(sent: Pcm, heard: Pcm) -> float:
    """By how much `heard` is later on its clock than `sent` on its own."""
    match = correlate(heard, sent, "full", "fft")
    return float(correlation_lags(len(heard), len(sent))[int(np.argmax(match))] / SAMPLE_RATE_HZ)


def _tell(
    folder: Path, left: Pcm, right: Pcm, placed: Sequence[PlacedTurn], words: Sequence[TimedWord]
) -> int:
    agent, caller = speech_segments(right), speech_segments(left)
    untils = [one.turn.start_s for one in placed[1:]] + [len(right) / SAMPLE_RATE_HZ]
    answers = [response_gap(one.turn, agent, until_s) for one, until_s in zip(placed, untils, strict=True)]
    gaps = [
        Segment(one.turn.end_s, one.turn.end_s + gap_s)
        for one, gap_s in zip(placed, answers, strict=True)
        if gap_s is not None
    ]
    picture = CallPicture(
        left, right, words, gaps, overlaps(caller, agent), "One order, over a real SIP call"
    )
    paths = draw_call(picture, folder)
    gaps_s = [gap.duration_s for gap in gaps]
    paths += draw_ruler(gaps_s, folder, "How long the caller waits for an answer")
    _print_figures(gaps_s, len(placed), placed, agent)
    for path in [*paths, folder / "call.flac"]:
        console.print(f"  {path}", style="dim", highlight=False)
    return 0 if placed and len(gaps) == len(placed) else 1


def _print_figures(
    gaps_s: Sequence[float], num_turns: int, placed: Sequence[PlacedTurn], agent: Sequence[Segment]
) -> None:
    if gaps_s:
        listed = ", ".join(f"{gap_s * 1000:.0f}" for gap_s in gaps_s)
        console.print(
            f"\n{len(gaps_s)} of {num_turns} turns answered, after {listed} ms: "
            f"[bold]{np.median(gaps_s) * 1000:.0f} ms[/] at the median (a person 200, a cascade 1,000)",
            highlight=False,
        )
    else:
        console.print("\nthe agent answered nothing", style="red")
    for one in placed:
        trial = score_barge_in(one.turn.start_s, agent)
        if one.manner is Manner.CUT_IN and trial.stop_s is not None:
            console.print(f"interrupted, it fell silent after {trial.stop_s * 1000:.0f} ms", highlight=False)
