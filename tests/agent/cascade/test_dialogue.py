"""Minds: the rules answer words, resume where a call was, and a model's marks become what is to be done."""

from collections.abc import Generator, Sequence

from agent.cascade.dialogue import ChatMind, RuleMind
from agent.cascade.services import Chat
from model.order_line import CONFIRMED, GREETING, NOT_UNDERSTOOD, Control
from tests.agent.cascade.service import served


def answers(mind: RuleMind | ChatMind, words: str) -> list[str]:
    return [line.text for line in mind.answer(words)]


def test_the_rules_greet_read_back_and_confirm() -> None:
    mind = RuleMind()
    assert [line.text for line in mind.greet()] == [GREETING.text]
    assert answers(mind, "can i get a large latte") == ["A large latte. Is that right?"]
    assert answers(mind, "yes") == [CONFIRMED.text]
    assert answers(mind, "") == [NOT_UNDERSTOOD.text]


def test_what_the_rules_do_not_know_is_to_be_asked_elsewhere() -> None:
    (line,) = RuleMind().answer("is my order ready")
    assert line.control is Control.DELEGATE


def test_rules_go_on_where_a_call_was() -> None:
    mind = RuleMind()
    mind.resume([(True, "off hook coffee"), (False, "can i get a small mocha"), (True, "a small mocha")])
    assert answers(mind, "yes please") == [CONFIRMED.text]


class Recorded(Chat):
    """A chat whose answers are at hand, which keeps what it was told."""

    def __init__(self, *pieces: str) -> None:
        super().__init__("LLM", "http://127.0.0.1:9", "m", None, 1.0)
        self.pieces, self.told = pieces, list[Sequence[dict[str, str]]]()

    def stream(self, messages: Sequence[dict[str, str]]) -> Generator[str, None, None]:
        self.told.append(messages)
        yield from self.pieces


def test_a_model_is_told_its_role_and_what_was_said_and_its_mark_is_obeyed() -> None:
    chat = Recorded("Sure. Good", "bye! [hangup]")
    mind = ChatMind(chat, "You sell tea.")
    mind.resume([(True, "Tea shop."), (False, "hello")])
    lines = [(line.text, line.control) for line in mind.answer("thanks bye")]
    assert lines == [("Sure.", Control.NONE), ("Goodbye!", Control.NONE), ("", Control.HANG_UP)]
    (told,) = chat.told
    assert told[0]["role"] == "system" and told[0]["content"].startswith("You sell tea.")
    assert [message["content"] for message in told[1:]] == ["Tea shop.", "hello", "thanks bye"]
    list(mind.answer("more"))
    assert chat.told[1][4] == {"role": "assistant", "content": "Sure. Goodbye!"}


def test_a_model_that_is_interrupted_remembers_what_it_said() -> None:
    chat = Recorded("One. ", "Two. ", "Three.")
    mind = ChatMind(chat, "")
    answer = mind.answer("count")
    assert next(answer).text == "One."
    answer.close()  # type: ignore[attr-defined]
    list(mind.answer("go on"))
    assert chat.told[1][2] == {"role": "assistant", "content": "One."}


def test_a_model_elsewhere_greets() -> None:
    with served() as service:
        mind = ChatMind(Chat("LLM", service.url, "m", None, 5.0), "")
        assert [line.text for line in mind.greet()] == ["Hello.", "What can I get you?"]
