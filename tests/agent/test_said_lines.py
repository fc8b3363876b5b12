"""Words become lines of the log, each once, in the order in which they began."""

import structlog

from agent.said_lines import SaidLines
from agent.transcript import Speaker, TimedWord


def test_words_are_joined_until_a_pause_or_the_end() -> None:
    lines = SaidLines()
    with structlog.testing.capture_logs() as logs:
        for text, start_s in (("one", 0.0), ("two", 0.5), ("three", 3.0)):
            lines.push(TimedWord(Speaker.CALLER, text, start_s, start_s + 0.4))
        lines.push(TimedWord(Speaker.AGENT, "well", 3.1, 3.4))
        assert [entry["pii_text"] for entry in logs] == ["one two"]
        lines.say(4.0)
        assert len(logs) == 1  # both might go on
        lines.say()
        lines.say()
    assert [(entry["speaker"], entry["pii_text"]) for entry in logs[1:]] == [
        ("caller", "three"),
        ("agent", "well"),
    ]
    assert (logs[0]["start_s"], logs[0]["end_s"]) == (0.0, 0.9)
