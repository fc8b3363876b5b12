"""The agent answers in time and in words that were heard, whatever the model likes best."""

from __future__ import annotations

import pytest
import torch

from model.answering import HUSHED_FRAMES, LATE_FRAMES, LEAST_WORDS, PAUSE_FRAMES, Agent, Answering
from model.config import SamplingConfig
from model.controls import NO_TOKEN
from model.engine import BUILTIN
from model.errors import CheckpointError
from model.tokenizer import EPAD, PAD, TextTokenizer, load_text_tokenizer
from tests.model import tiny

WITHIN, ENDED_WITHIN = 10, 4
OPEN = ("large", "with")
GROUNDED = ("latte", "large")


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    """The order line's alphabet: its words whole, any other spelt."""
    return load_text_tokenizer(BUILTIN)


class Call:
    """One row between a model that likes one token best and a scripted transcript."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        rows: int = 1,
        row: int = 0,
        within: int = WITHIN,
        ended_within: int = 0,
        words: int = 2,
        bias: float = 0.0,
        over_line_bias: float = 0.0,
    ) -> None:
        self.tokenizer = tokenizer
        sampling = SamplingConfig(
            answer_within_frames=within,
            answer_ended_within_frames=ended_within,
            open_words=OPEN,
            yield_to_words=words,
            heard_bias=bias,
            heard_over_line_bias=over_line_bias,
            grounded_words=GROUNDED,
        )
        self.answering = Answering(tokenizer, tiny.recital_config(tokenizer), sampling, rows)
        self.active = torch.arange(rows) == row
        self.is_free = torch.ones(rows, dtype=torch.bool)
        self.is_muted = torch.zeros(rows, dtype=torch.bool)
        self.texts: list[int] = []
        self.written: list[int] = []

    def frame(self, best: int = PAD, written: int = PAD) -> int:
        """One step: the token taken where the model likes this one best; padding and "sorry" come next."""
        logits = torch.full((len(self.active), self.tokenizer.card), -10.0)
        logits[:, EPAD], logits[:, PAD] = 2.0, 3.0
        logits[:, self.token("sorry")] = 1.0
        if best != PAD:
            logits[:, best] = 4.0
        self.answering.shape(logits, self.is_free)
        text = torch.where(self.is_muted, PAD, logits.argmax(1))
        text = torch.where(self.active, text, NO_TOKEN)
        heard = torch.where(self.active, written, NO_TOKEN)
        is_hushed = self.answering.hush(self.is_free) & self.active
        text = torch.where(is_hushed, PAD, text)
        self.answering.note(text, heard, self.active, Agent(self.is_muted, is_hushed))
        self.texts.append(int(text[self.active]))
        self.written.append(written)
        return self.texts[-1]

    def token(self, word: str) -> int:
        """The only piece of a word."""
        (token,) = self.tokenizer.encode(word)
        return token

    def listens(self) -> int:
        """The piece that is written where padding is likelier than "latte" by a little."""
        heads = torch.full((len(self.active), 1, self.tokenizer.card), -10.0)
        heads[:, 0, PAD], heads[:, 0, self.token("latte")] = 3.0, 2.0
        self.answering.shape_heads(heads, self.is_free)
        return int(heads[self.active, 0].argmax())

    def hear(self, words: str) -> None:
        for word in words.split():
            for token in self.tokenizer.encode(word):
                self.frame(written=token)
            self.frame()

    def say(self, words: str) -> None:
        for word in words.split():
            for token in self.tokenizer.encode(word):
                assert self.frame(token) == token

    def wait(self, frames: int) -> list[int]:
        return [self.frame() for _ in range(frames)]

    def is_answered(self) -> bool:
        """Whether it begins to speak in the frames to come."""
        return self.wait(4 * WITHIN) != [PAD] * 4 * WITHIN


def test_words_that_nothing_followed_are_answered_in_time(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    call.hear("never mind")
    assert set(call.wait(WITHIN - 1)) == {PAD}, "there is time yet"
    # The frame before a word announces it, once.
    assert call.wait(3) == [EPAD, call.token("sorry"), PAD]
    assert not call.is_answered(), "it was"


def test_it_listens_harder_over_its_line_and_only_there(tokenizer: TextTokenizer) -> None:
    call, plain = Call(tokenizer, over_line_bias=1.5), Call(tokenizer)
    for one in (call, plain):
        assert one.listens() == PAD, "nobody speaks"
        one.say("sorry sorry sorry sorry sorry sorry sorry sorry")
        assert one.listens() == PAD, "these may be words of the turn that the line answers"
        one.say("sorry")
    assert call.listens() == call.token("latte") and plain.listens() == PAD
    call.is_free[:] = False
    assert call.listens() == PAD, "what it was told to say is not interrupted"
    call.is_free[:] = True
    call.wait(PAUSE_FRAMES + 1)
    assert call.listens() == PAD, "the line is over"


def test_it_listens_harder_for_a_turns_first_word(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer, bias=1.5)
    assert call.listens() == call.token("latte")
    call.hear("a")
    assert call.listens() == PAD, "the turn has begun"
    call.say("sorry")
    assert call.listens() == call.token("latte"), "and is answered"
    call.is_free[:] = False
    assert call.listens() == PAD, "what it was told to say comes first"
    call.is_free[:] = True
    call.say("sorry " * 9)
    assert call.listens() == PAD, "over its line another bias counts"


@pytest.mark.parametrize("control", ["delegate", "transfer", "hangup"])
def test_it_answers_in_words(tokenizer: TextTokenizer, control: str) -> None:
    call = Call(tokenizer)
    call.hear("never mind")
    call.wait(WITHIN - 1)
    assert call.frame() == EPAD
    assert call.frame(getattr(tokenizer, control)) == call.token("sorry")


def test_the_time_begins_anew_with_each_word(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    call.hear("a latte")
    call.wait(WITHIN - 3)
    call.hear("please")
    assert set(call.wait(WITHIN - 1)) == {PAD} and call.frame() == EPAD


@pytest.mark.parametrize(
    ("words", "within"),
    [
        ("a latte", ENDED_WITHIN),
        ("a large", WITHIN),
        ("a latte with", WITHIN),
        ("a large latte", ENDED_WITHIN),
    ],
)
def test_words_that_may_end_a_sentence_are_answered_sooner(
    tokenizer: TextTokenizer, words: str, within: int
) -> None:
    call = Call(tokenizer, ended_within=ENDED_WITHIN)
    call.hear(words)
    # `hear` ends with a frame of silence.
    assert call.wait(within + 1)[within - 1 :] == [EPAD, call.token("sorry")]
    assert call.texts.count(EPAD) == 1


@pytest.mark.parametrize(
    "words", ["", "latte", "mhm", "uh huh", "uh huh okay yeah right latte", "mhm mhm um", "latte mm hm"]
)
def test_a_hum_or_a_single_word_needs_no_answer(tokenizer: TextTokenizer, words: str) -> None:
    call = Call(tokenizer)
    call.hear(words)
    assert LEAST_WORDS == 2 and not call.is_answered()


@pytest.mark.parametrize(
    "words", ["once more", "how much", "hold on", "mhm a latte", "latte mhm latte", "mobile phone"]
)
def test_words_that_begin_like_a_hum_are_words(tokenizer: TextTokenizer, words: str) -> None:
    call = Call(tokenizer)
    call.hear(words)
    assert call.is_answered()


def test_what_the_agent_says_of_itself_is_an_answer_and_its_hum_is_none(tokenizer: TextTokenizer) -> None:
    for said, answers in (("sorry", True), ("mm hm", False)):
        call = Call(tokenizer)
        call.hear("a latte please")
        call.say(said)
        assert call.is_answered() is not answers


def test_who_is_told_what_to_say_is_left_alone(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    call.hear("a mocha please")
    call.is_free[:] = False
    assert not call.is_answered()
    call.say("latte")
    call = Call(tokenizer, within=0)
    call.hear("a mocha please")
    assert not call.is_answered(), "it is switched off"


def test_what_was_said_to_a_muted_agent_is_not_answered_late(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    call.is_muted[:] = True
    call.hear("a latte please")
    call.wait(WITHIN)
    call.is_muted[:] = False
    assert not call.is_answered()
    call.hear("a latte please")
    assert call.is_answered()


@pytest.mark.parametrize("control", ["delegate", "transfer"])
def test_who_waits_for_the_runtimes_word_goes_on_waiting(tokenizer: TextTokenizer, control: str) -> None:
    call = Call(tokenizer)
    call.hear("is my order ready")
    call.say("one")
    assert call.frame(getattr(tokenizer, control)) == getattr(tokenizer, control)
    call.hear("never mind")
    assert not call.is_answered()
    call.say("sorry")
    call.hear("never mind")
    assert call.is_answered(), "the word has come"


def test_grounded_words_are_said_once_they_were_heard(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    latte, large = call.token("latte"), call.token("large")
    assert call.frame(latte) == PAD, "the next best"
    call.say("mocha")  # this one is no such word
    call.hear("latte")
    assert call.frame(latte) == latte
    assert call.frame(large) == PAD
    call.wait(500)
    assert call.frame(latte) == latte, "it stays heard"
    call.is_free[:] = False
    call.say("large")  # the runtime's word
    call.is_free[:] = True
    assert call.frame(large) == large, "as one that is asked for again"


def _speak(call: Call, frames: int, *, heard: str = "", from_frame: int = LATE_FRAMES) -> list[int]:
    """A line of the agent, a word every other frame; words are heard over it. Its frames with text."""
    written = dict(enumerate((call.token(word) for word in heard.split()), from_frame))
    word = call.token("sorry")
    said = [call.frame(PAD if at % 2 else word, written.get(at, PAD)) for at in range(frames)]
    return [at for at, token in enumerate(said) if token != PAD]


@pytest.mark.parametrize(
    ("heard", "yields"),
    [("large mocha", True), ("large okay mocha", True), ("large", False), ("okay right large yeah", False)],
)
def test_words_over_its_line_silence_the_agent(tokenizer: TextTokenizer, heard: str, yields: bool) -> None:
    call = Call(tokenizer)
    said = _speak(call, 40, heard=heard)
    stopped = LATE_FRAMES + len(heard.split())
    hushed = set(range(stopped, stopped + HUSHED_FRAMES))
    assert hushed.isdisjoint(said) is yields
    assert set(range(0, 40, 2)).difference(said) == (hushed & set(range(0, 40, 2)) if yields else set())


@pytest.mark.parametrize(("heard", "yields"), [("mhm mm uh huh", False), ("mhm latte", True), ("mo", True)])
def test_a_hum_is_no_word_before_it_has_ended(tokenizer: TextTokenizer, heard: str, yields: bool) -> None:
    """A single word silences this agent, and a hum of two pieces begins like a word."""
    call = Call(tokenizer, words=1)
    _speak(call, LATE_FRAMES + 2)
    is_hushed = False
    for token in tokenizer.encode(heard):
        call.frame(call.token("sorry"), token)
        is_hushed |= bool(call.answering.hush(call.is_free).any())
    assert is_hushed is yields


def test_who_was_silenced_answers(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer)
    _speak(call, LATE_FRAMES + 3, heard="large mocha")
    assert set(call.wait(HUSHED_FRAMES)) == {PAD} and call.is_answered()


def test_words_of_the_turn_that_is_answered_are_no_interruption(tokenizer: TextTokenizer) -> None:
    """They are written down while the answer begins."""
    call = Call(tokenizer)
    call.hear("make that")
    assert _speak(call, 20, heard="large mocha", from_frame=1) == list(range(0, 20, 2))
    # Nor are those of the next turn, when it has ended.
    call = Call(tokenizer)
    _speak(call, 20)
    call.wait(PAUSE_FRAMES)
    call.hear("large mocha please")
    assert not call.answering.hush(call.is_free).any()


def test_a_sentence_that_was_ordered_is_not_interrupted(tokenizer: TextTokenizer) -> None:
    for is_free, words in ((False, 2), (True, 0)):
        call = Call(tokenizer, words=words)
        call.is_free[:] = is_free
        assert _speak(call, 20, heard="large mocha please") == list(range(0, 20, 2))


def test_rows_are_their_own(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer, rows=3, row=1)
    call.hear("latte please")
    call.wait(WITHIN - 2)
    tree = call.answering.tree
    assert tree["is_heard"].tolist() == [[False, False], [True, False], [False, False]]
    assert tree["num_words"].tolist() == [0, 2, 0] and tree["quiet"].tolist() == [0, WITHIN - 1, 0]
    tree.reset(call.active)
    assert not any(tensor.any() for tensor in tree.walk())


def test_a_moved_call_knows_what_it_heard(tokenizer: TextTokenizer) -> None:
    call = Call(tokenizer, rows=2)

    def moved() -> None:
        reborn = Call(tokenizer, rows=2).answering
        reborn.relive(1, call.texts, call.written)
        for tensor, name in ((reborn.tree["pause"], "pause"), (reborn.tree["line_age"], "line_age")):
            assert not tensor.any(), name
            call.answering.tree[name][0] = 0
        tiny.assert_rows_equal(reborn.tree, call.answering.tree.rows(0), 1)

    for words in ("mhm", "large mocha", "uh huh"):
        call.hear(words)
        moved()
    call.say("sorry")
    call.frame(tokenizer.delegate)
    moved()
    call.hear("never mind")
    call.say("sorry")
    call.hear("two mochas")
    for _ in range(WITHIN + 4):
        moved()
        call.frame()
    assert call.token("sorry") in call.texts[-5:], "it has answered"
    _speak(call, LATE_FRAMES + 3, heard="large mocha")
    reborn = Call(tokenizer).answering
    reborn.relive(0, call.texts, call.written)
    assert not any(reborn.tree[name].any() for name in ("line_age", "words_over", "hushed")), "it is silent"


@pytest.mark.parametrize("words", ["grounded_words", "open_words"])
def test_a_word_of_several_pieces_is_refused(tokenizer: TextTokenizer, words: str) -> None:
    sampling = SamplingConfig(**{words: ("latte", "macchiato")})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=rf"{words}: .*'macchiato' in \d pieces"):
        Answering(tokenizer, tiny.recital_config(tokenizer), sampling, 1)
