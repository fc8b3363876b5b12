"""The bench's words: its rooms, its table, its arguments."""

import argparse
import io
from pathlib import Path

import pytest
from rich.console import Console

from agent.bench_versus import _rooms, add_arguments, run, versus_table
from agent.errors import AgentError
from agent.evaluation.summary import summarise
from agent.evaluation.versus import figures_of
from agent.settings import Settings
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
