"""`offhook score`: the field's metrics over what lies on disk, a benchmark's folder or a recorded call."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from agent.energy_gate import Segment
from agent.errors import AgentError, AudioFileError
from agent.evaluation.benchmark_folders import read_fdb, read_uro
from agent.evaluation.benchmark_rows import fdb_rows, uro_rows
from agent.evaluation.metrics.eva import eva_score, eva_turns
from agent.evaluation.metrics.floor import dead_air
from agent.evaluation.metrics.intervals import Estimate, percentile
from agent.evaluation.metrics.tau import Figure, Sound, TauEvents, UserSound, tau_events, tau_panel
from agent.evaluation.metrics.turn_statistics import floor_transfers, turn_statistics
from agent.evaluation.report import Report, Row, Unit, table, write_json
from agent.evaluation.segments import speech_segments, turns_of
from agent.settings import Settings

NOT_HERE = (
    "left out, because a judge model decides them: FDB's GPT score, v1.5 labels from transcripts, prosody; "
    "URO's open, semi-open, QA, emotion, style, safety and language sets, UTMOS"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `offhook score`."""
    parser.add_argument(
        "path",
        type=Path,
        help="a folder of Full-Duplex-Bench items or of URO-Bench results, or a call with the caller left",
    )
    parser.add_argument("--json", type=Path, help="write the rows here")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Read, score, print."""
    report = score(args.path)
    console = Console()
    console.print(table(report))
    if args.path.is_dir():
        console.print(NOT_HERE, highlight=False)
    if args.json:
        write_json(report, args.json)
    return 0


def score(path: Path) -> Report:
    """The report of a folder or a recording; raises AgentError if it is neither."""
    if path.is_file():
        return Report(f"{path.name}: floor and turns", call_rows(path))
    if not path.is_dir():
        raise AgentError(f"{path} does not exist: give a benchmark's folder or a two-channel recording")
    if next(path.rglob("asr_text.jsonl"), None):
        return Report(f"{path.name}: URO-Bench, what runs without a judge", uro_rows(read_uro(path)))
    return Report(f"{path.name}: Full-Duplex-Bench", fdb_rows(read_fdb(path)))


def call_rows(path: Path) -> list[Row]:
    """Turn statistics, tau-Voice's panel as far as sound tells, and EVA's score of one two-channel call."""
    caller, agent, duration_s = _two_sides(path)
    turns = [Segment(turn.start_s, turn.end_s) for turn in turns_of(caller)]
    offsets = floor_transfers(caller, agent)
    rows = [
        Row("answers' offset, p50", Unit.SECONDS, percentile([offsets], 50), group="floor",
            note="by unit of speech; a person's is about 200 ms"),
        Row("silence over 2 s", Unit.COUNT, _plain(len(dead_air(caller, agent)), 1), group="floor"),
    ]  # fmt: skip
    statistics = turn_statistics(caller, agent, duration_s)
    for name in ("units", "pauses", "gaps", "overlaps"):
        found = getattr(statistics, name)
        note = f"{found.s_per_minute:.1f} s per minute"
        rows.append(
            Row(name, Unit.PER_MINUTE, _plain(found.num_per_minute, found.num), group="dGSLM", note=note)
        )
    sounds = [UserSound(turn, Sound.TURN) for turn in turns]
    for by_script in (False, True):
        rows += _tau_rows(tau_events(sounds, agent, duration_s, by_script=by_script), by_script)
    eva = eva_score(eva_turns(turns, agent, duration_s))
    rows.append(Row("turn-taking", Unit.SCORE, _plain(eva.score, len(eva.per_turn)), group="EVA",
                    note="full marks for 0.5 to 2 s; 200 ms scores 0.7"))  # fmt: skip
    return rows


def _tau_rows(events: TauEvents, by_script: bool) -> list[Row]:
    """The part of the panel that needs no labels: what is a cough or a backchannel, sound does not tell."""
    panel = tau_panel([events])
    group = "tau-Voice, as its program has it" if by_script else "tau-Voice, as its text has it"
    figures = [
        ("L_R", panel.l_r, Unit.SECONDS), ("L_Y", panel.l_y, Unit.SECONDS), ("R_R", panel.r_r, Unit.SHARE),
        ("R_Y", panel.r_y, Unit.SHARE), ("I_A", panel.i_a, Unit.SCORE),
    ]  # fmt: skip
    return [
        Row(name, unit, _plain(one.value, one.num_events), group=group, note=_hidden(one))
        for name, one, unit in figures
    ]


def _hidden(figure: Figure) -> str:
    return "" if figure.is_shown else "the benchmark hides it below 10 events"


def _plain(value: float, num: int) -> Estimate:
    """A figure of one call: calls are what an interval is drawn over."""
    nan = float("nan")
    return Estimate(value, nan, nan, num, num)


def _two_sides(path: Path) -> tuple[list[Segment], list[Segment], float]:
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"cannot read {path}: {error}; give a WAV, FLAC or Ogg file") from None
    if sound.shape[1] != 2 or not len(sound):
        raise AudioFileError(f"{path} has {sound.shape[1]} channels: record the caller left, the agent right")
    sides = [speech_segments(np.ascontiguousarray(sound[:, side]), rate_hz) for side in (0, 1)]
    return sides[0], sides[1], len(sound) / rate_hz
