"""What the cascade answers: the order line's own rules, or a language model elsewhere. One mind per call.

A mind is asked by one thread at a time, and answers with lines: a sentence, and what is to be done after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from agent.cascade.mouth import whole_sentences
from agent.cascade.services import Chat
from model.order_line import GREETING, NOT_UNDERSTOOD, Control, Line, OrderLine
from model.understanding import interpret

SORRY = Line("Sorry, I cannot answer that just now. Please say it again.")
MAX_MESSAGES = 40
HANG_UP_MARK, TRANSFER_MARK = "[hangup]", "[transfer]"
DEFAULT_ROLE = "You answer the telephone of a small shop. Be brief and friendly."
_MANNER = (
    "\nYou are on the telephone: answer in one or two short sentences of plain words, without lists, markup "
    f"or emoji. Numbers are written as words. To end the call, say goodbye and write {HANG_UP_MARK} at the "
    f"end; to have a person take over, say so and write {TRANSFER_MARK} at the end."
)
_PICKED_UP = "(The caller has been connected and says nothing yet: greet them.)"

Said = tuple[bool, str]  # is it the agent's, words


class Mind(Protocol):
    """One call's dialogue."""

    def greet(self) -> Iterator[Line]:
        """The first words."""

    def answer(self, words: str) -> Iterator[Line]:
        """What to say to the caller's words; empty ones were not recognised."""

    def remark(self, line: Line) -> None:
        """The agent said this unasked."""

    def resume(self, lines: Sequence[Said]) -> None:
        """Go on with a call of which this was said."""


class RuleMind:
    """The order line's rules."""

    def __init__(self) -> None:
        self._rules = OrderLine()

    def greet(self) -> Iterator[Line]:
        """The first words."""
        yield self._rules.say(GREETING)

    def answer(self, words: str) -> Iterator[Line]:
        """What the rules say to the caller's words."""
        yield self._rules.answer(interpret(words)) if words else NOT_UNDERSTOOD

    def remark(self, line: Line) -> None:
        """The agent said this unasked."""
        self._rules.say(line)

    def resume(self, lines: Sequence[Said]) -> None:
        """Answer the caller's earlier words again, silently: that leaves the rules where they were."""
        for is_agent, words in lines:
            if not is_agent:
                self._rules.answer(interpret(words))


class ChatMind:
    """A language model, told of its role."""

    def __init__(self, chat: Chat, role: str) -> None:
        self._chat = chat
        self._system = {"role": "system", "content": (role or DEFAULT_ROLE) + _MANNER}
        self._messages: list[dict[str, str]] = []

    def greet(self) -> Iterator[Line]:
        """The first words. Raises ServiceError."""
        return self.answer(_PICKED_UP)

    def answer(self, words: str) -> Iterator[Line]:
        """The model's answer, sentence by sentence. Raises ServiceError."""
        if not words:
            yield NOT_UNDERSTOOD
            return
        self._note("user", words)
        said: list[str] = []
        try:
            with contextlib.closing(self._chat.stream([self._system, *self._messages])) as pieces:
                for sentence in whole_sentences(pieces):
                    line = _line(sentence)
                    said.append(line.text)
                    yield line
        finally:  # also when nobody waits for the rest: it has been interrupted
            self._note("assistant", " ".join(said).strip())

    def remark(self, line: Line) -> None:
        """The agent said this unasked."""
        self._note("assistant", line.text)

    def resume(self, lines: Sequence[Said]) -> None:
        """Remember what was said."""
        for is_agent, words in lines:
            self._note("assistant" if is_agent else "user", words)

    def _note(self, role: str, words: str) -> None:
        if words:
            self._messages.append({"role": role, "content": words})
            del self._messages[:-MAX_MESSAGES]


def _line(sentence: str) -> Line:
    """A sentence with its mark, if it has one, as what is to be done."""
    control = Control.NONE
    for mark, meaning in ((HANG_UP_MARK, Control.HANG_UP), (TRANSFER_MARK, Control.TRANSFER)):
        if mark in sentence.lower():
            at = sentence.lower().index(mark)
            sentence, control = f"{sentence[:at]}{sentence[at + len(mark) :]}".strip(), meaning
    return Line(sentence, control)
