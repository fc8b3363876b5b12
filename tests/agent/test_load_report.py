"""Each step is a column, and what makes it void is said there."""

import io
from dataclasses import replace

from rich.console import Console

from agent.load_report import steps_table
from tests.agent.test_load import FIGURES, step


def test_each_step_is_a_column_of_figures() -> None:
    void = replace(step(200), own_late_ms={**FIGURES, "p99": 60.0})
    written = io.StringIO()
    console = Console(width=120, file=written)
    console.print(steps_table([step(50), void]))
    text = written.getvalue()
    assert "50 calls" in text and "200 calls" in text
    assert "30; 0.60" in text and "30; 0.15" in text, "of a core, and for each call"
    assert "60.0 (void)" in text and "2.0 (void)" not in text
