"""Text tokens of both sides -> timed words on the call's audio clock. No I/O here.

The model writes its own words and the caller's, one token of each per 80 ms step, most of them padding. A
word opens at a piece that starts with "▁" and closes at the next such piece or once padding follows. The
agent's text runs ahead of its voice by `AGENT_LEAD_S`; the caller's text follows the voice, so its words are
dated backwards.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

STEP_S = 0.08
AGENT_LEAD_S = 0.12  # text leads the audible word by its delays: 0.11 s in the built-in model's greetings
CALLER_LAG_S = 0.16  # a caller's word is written about this long after its end
LETTER_S = 0.065  # spoken English, about 15 letters a second: how long a word lasts when nothing else says it
CLOSING_PADS = 3  # padding that ends a word; shorter runs occur between the pieces of one word
MAX_WORDS = 20_000  # two hours of unbroken talk; older words are kept, later ones are counted only
WORD_MARK = "▁"


class Pieces(Protocol):
    """What a transcript asks of the model's tokenizer."""

    def piece(self, token: int) -> str:
        """Spelling of a token; "▁" opens a word; "" for control and padding."""


class Speaker(StrEnum):
    """Whose words."""

    CALLER = "caller"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word, in seconds of the call's audio clock (0: the first sample of the first frame)."""

    speaker: Speaker
    text: str
    start_s: float
    end_s: float

    def as_json(self) -> dict[str, str | float]:
        """For a recording's sidecar: times in milliseconds' precision."""
        return {
            "speaker": self.speaker.value,
            "text": self.text,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
        }


class WordStream:
    """One side's tokens; gives each word as soon as it is complete."""

    def __init__(self, speaker: Speaker, pieces: Pieces) -> None:
        self._speaker = speaker
        self._pieces = pieces
        self._text = ""
        self._first_s = 0.0
        self._last_s = 0.0
        self._pads = 0
        self._floor_s = 0.0  # the end of the word before: words never overlap

    def push(self, token: int, at_s: float) -> TimedWord | None:
        """Take one step's token, heard or played at `at_s`; the word that it completed, if any."""
        piece = self._pieces.piece(token) if token >= 0 else ""
        if not piece:
            self._pads += 1
            return self.finish() if self._pads >= CLOSING_PADS else None
        done = self.finish(at_s) if piece.startswith(WORD_MARK) else None
        if not self._text:
            self._first_s = at_s
        self._text += piece.removeprefix(WORD_MARK)
        self._last_s, self._pads = at_s, 0
        return done

    def finish(self, next_s: float | None = None) -> TimedWord | None:
        """Close the open word, which the next word's first token at `next_s` bounds."""
        text, self._text = self._text.strip(), ""
        if not text:
            return None
        start_s, end_s = self._span(len(text), next_s)
        start_s = max(start_s, self._floor_s)
        end_s = max(end_s, start_s + 0.02)
        self._floor_s = end_s
        return TimedWord(self._speaker, text, start_s, end_s)

    def _span(self, letters: int, next_s: float | None) -> tuple[float, float]:
        length_s = max(0.12, LETTER_S * letters)
        if self._speaker is Speaker.CALLER:
            end_s = max(0.0, self._first_s - CALLER_LAG_S)
            return max(0.0, end_s - length_s), end_s
        start_s = self._first_s + AGENT_LEAD_S
        end_s = max(start_s + length_s, self._last_s + AGENT_LEAD_S + STEP_S)
        return start_s, end_s if next_s is None else min(end_s, next_s + AGENT_LEAD_S)


class Transcript:
    """Both sides of one call; bounded by MAX_WORDS, what does not fit is counted in `num_dropped`."""

    def __init__(self, pieces: Pieces) -> None:
        self._streams = {speaker: WordStream(speaker, pieces) for speaker in Speaker}
        self.words: list[TimedWord] = []  # in the order in which they were completed
        self.num_dropped = 0

    def push(self, speaker: Speaker, token: int, at_s: float) -> TimedWord | None:
        """Take one step's token of one side; the word that it completed, if any."""
        return self._keep(self._streams[speaker].push(token, at_s))

    def finish(self) -> list[TimedWord]:
        """Close both sides' open words at the call's end; the words that this completed."""
        last = [self._keep(stream.finish()) for stream in self._streams.values()]
        return [word for word in last if word is not None]

    def in_order(self) -> list[TimedWord]:
        """All words by their start."""
        return sorted(self.words, key=lambda word: word.start_s)

    def dialogue(self, pause_s: float = 1.0) -> list[TimedWord]:
        """Words joined into one line per turn: a new line where the speaker changes or pauses."""
        lines: list[TimedWord] = []
        latest: dict[Speaker, int] = {}
        for word in self.in_order():
            at = latest.get(word.speaker)
            if at is not None and at == len(lines) - 1 and word.start_s - lines[at].end_s < pause_s:
                line = lines[at]
                lines[at] = TimedWord(line.speaker, f"{line.text} {word.text}", line.start_s, word.end_s)
            else:
                latest[word.speaker] = len(lines)
                lines.append(word)
        return lines

    def _keep(self, word: TimedWord | None) -> TimedWord | None:
        if word is None:
            return None
        if len(self.words) >= MAX_WORDS:
            self.num_dropped += 1
            return None
        self.words.append(word)
        return word
