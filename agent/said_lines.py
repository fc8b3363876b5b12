"""The dialogue in the log: words of each side joined into lines, their text only where persons are shown."""

import math
from dataclasses import replace

import structlog

from agent.transcript import Speaker, TimedWord

LINE_PAUSE_S = 1.0  # silence that ends a line of the dialogue

log = structlog.get_logger(__name__)


class SaidLines:
    """Lines that are not yet complete, one per speaker at most."""

    def __init__(self) -> None:
        self._lines: dict[Speaker, TimedWord] = {}

    def push(self, word: TimedWord) -> None:
        """Take the next word of either side; a line that ended a pause before it is logged."""
        line = self._lines.get(word.speaker)
        if line is not None and word.start_s - line.end_s < LINE_PAUSE_S:
            word = replace(line, text=f"{line.text} {word.text}", end_s=word.end_s)
        else:
            self.say(word.start_s)
        self._lines[word.speaker] = word

    def say(self, before_s: float = math.inf) -> None:
        """Log the lines that ended a pause before that time."""
        ended = [line for line in self._lines.values() if line.end_s + LINE_PAUSE_S <= before_s]
        for line in sorted(ended, key=lambda one: one.start_s):
            del self._lines[line.speaker]
            log.info(
                "said",
                speaker=line.speaker.value,
                start_s=round(line.start_s, 2),
                end_s=round(line.end_s, 2),
                pii_text=line.text,
            )
