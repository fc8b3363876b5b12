"""The bench's words: its rooms, its table, its arguments."""

import argparse
import io
from pathlib import Path

import pytest
from rich.console import Console

from agent.bench_versus import _rooms, add_arguments, run, tone_table, versus_table
from agent.errors import AgentError
from agent.evaluation.summary import summarise
from agent.evaluation.versus import figures_of
from agent.evaluation.versus_tone import tone_figures
from agent.settings import Settings
from model.order_line import Tone
from tests.agent.evaluation.test_versus import ROWS


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_rooms_are_known_by_name() -> None:
    assert [room.snr_db for room in _rooms(arguments().rooms)] == [None, 20.0, 10.0]
    with pytest.raises(AgentError, match=r"no room 'attic'; write some of clean"):
        _rooms("clean, attic")


def test_no_calls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="counts from 1"):
        run(arguments("--calls", "0", "--folder", str(tmp_path)), Settings())


def test_the_table_tells_every_engine_and_room() -> None:
    calls = [{"turns": ROWS, "is_greeting_right": True}]
    figures = [figures_of("cascade", room, summarise(calls), calls) for room in ("clean", "10 dB")]
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(versus_table(figures))
    told = console.export_text()
    assert "10 dB" in told and "400 ms" in told and told.count("1/4") >= 8


def test_the_table_of_tones_counts_answers_by_tone() -> None:
    heard = [(Tone.CALM, "calm"), (Tone.CALM, "none"), (Tone.ANGRY, "calm"), (Tone.HURRIED, "hurried")]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(tone_table([tone_figures("cascade", heard)]))
    rows = {
        line.split("│")[2].strip(): line for line in console.export_text().splitlines() if "cascade" in line
    }
    assert [cell.strip() for cell in rows["calm"].split("│")[3:-1]] == ["1", "0", "0", "0", "1", "1/2"]
    assert rows["angry"].rstrip(" │").endswith("0/1") and "2/4 (50%)" in rows["all"]
