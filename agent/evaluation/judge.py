"""Which sentence did the agent say? A closed-grammar recogniser over what the caller heard.

pocketsphinx with its bundled 16 kHz model chooses among the order line's own sentences, every possible
read-back of an order or a number, and more than 60 foils that sound alike or belong to other shops: open
vocabulary is useless at 8 kHz (word error rate 0.6), a closed grammar is not. One judge belongs to one
thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.segments import SAMPLE_RATE_HZ, speech_segments
from model.channel import resample
from model.numbers import DIGIT_WORDS, NUM_DIGITS, digits_in
from model.order import AMOUNTS, DRINKS, MILKS, ROASTS, SHOTS, SIZES, SUGARS, Change, Order, understand
from model.order_line import AGENT_LINES, ANGRY_PREFIX, NOBODY, TRANSFER, Tone, in_tone
from model.voices import AGENT_VOICE, SILENCE, synthesize

_RATE_HZ = 16_000
_PADDINGS_S = (0.25, 0.1, 0.5, 0.25)  # of silence around what is heard, tried in turn
_PEAK = 12_000
FOIL_SIZES = ("tiny", "huge", "extra large", "regular", "ten ounce", "thirty ounce")
FOIL_ROASTS = ("french roast", "city roast")
FOIL_SHOTS = ("half shot", "extra shot")
FOIL_DRINKS = (
    "tea", "green tea", "hot chocolate", "flat white", "cold brew", "lemonade", "orange juice", "matcha",
    "macchiato", "iced tea", "black coffee", "water",
)  # fmt: skip
FOIL_EXTRAS = ("oat milk", "rice milk", "coconut milk", "honey", "lemon", "cinnamon")
FOIL_AMOUNTS = ("extra", "no")
FOIL_SLOTS = (*FOIL_SIZES, *FOIL_ROASTS, *FOIL_SHOTS, *FOIL_DRINKS, *FOIL_EXTRAS, *FOIL_AMOUNTS)
SLOT_WORDS = (*SIZES, *ROASTS, *SHOTS, *DRINKS, *MILKS, *SUGARS, *AMOUNTS)
# Two lines that are said without a stop where nobody is free.
IN_ONE_BREATH = tuple(f"{in_tone(TRANSFER, tone).text} {in_tone(NOBODY, tone).text}" for tone in Tone)
# How people hum agreement stands in no dictionary.
_HUMS = {"mm": "AH M", "hm": "HH AH M"}
FOIL_LINES = tuple(
    " ".join(foil.split())
    for foil in """
    off road coffee what can i do for you, good morning what can i get you, welcome how may i help
    you, thank you for waiting, great it will be there in twenty minutes anything more, great that
    will be nine dollars anything else, it will be ready in five minutes, it is ready now, sorry
    about the wait what would you like to drink, sorry we are out of that, what size would you like,
    what kind of milk would you like, sure what is your name, sure here you are, okay what is your
    number, okay see you then, okay what did you get, we are open from nine in the morning to five
    at night, we are open from seven in the morning to nine at night, we are closed on sunday, we
    are open all day and all night, we open at eight tomorrow, we are closed right now, we are at
    twenty north street next to the church, we are at seven park road behind the bank, we are in the
    main station next to the door, the shop is near the old bridge, you can park behind us, one
    moment i will ask my boss, one moment please stay on the line, hold on i will be right back,
    please call again tomorrow, sorry nobody can hear you, sorry i cannot do that, sorry we are full
    right now, sorry i am new here can you help me, thank you for coming good night, thank you for
    your order goodbye, goodbye and have a nice day, are you still hungry, are you still open, is
    anybody there, can you hear me, i will call you back later, i will wait here, i will hang up my
    coat now, you are welcome, yes of course, no i do not think so, i am sorry, please say a number,
    please hold the line, press one for coffee, your call is important to us, how much is that, that
    is three fifty please, would you like a receipt, for here or to go, do you want that hot or
    cold, we only take cash, anything else for you today, sorry i did not hear the door, can you
    spell it for me, could you hold it for me, the number you have called is not in service
    """.split(",")
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was heard: the words, and the order or the number if they read one back. Empty words: nothing
    intelligible."""

    words: str
    order: Order | None = None
    number: str | None = None

    def says(self, text: str) -> bool:
        """True if these are the words of a line (punctuation, case, and "a" for "an" aside).

        Of a read-back what it reads back counts: the terse form and the calm one are alike.
        """
        words = plain(text)
        if _any_article(self.words) == _any_article(words):
            return True
        is_same_order = self.order is not None and self.order == order_in(words)
        return is_same_order or (self.number is not None and self.number == number_in(words))


def plain(text: str) -> str:
    """Words alone, lower case: what the grammar holds."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def _words(text: str) -> list[str]:
    return sorted(set(plain(text).split()))


def _any_article(words: str) -> str:
    return re.sub(r"^an ", "a ", words)


class Judge:
    """A decoder with our grammar loaded (0.3 s); `hear` judges one stretch of the agent's speech."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL", lm=None, samprate=_RATE_HZ)
        grammar = _grammar()
        for word in _words(re.sub(r"<\w+>", "", grammar.split("agent;")[1].replace("public", ""))):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronounced(word), False)
        # The agent's own way ("latte" as in "latch") counts beside the dictionary's.
        slots = (*SIZES, *ROASTS, *SHOTS, *DRINKS, *MILKS, *SUGARS, *DIGIT_WORDS)
        for word in _words(" ".join((*(line.text for line in AGENT_LINES), *slots))):
            if self._decoder.lookup_word(word) != (own := pronounced(word)):
                self._decoder.add_word(f"{word}(9)", own, False)
            for number, dull in enumerate(_dulled(own), start=10):
                self._decoder.add_word(f"{word}({number})", dull, False)
        self._decoder.add_jsgf_string("agent", grammar)
        self._decoder.activate_search("agent")

    def hear(self, pcm: Pcm) -> Verdict:
        """The most likely sentence in float32 [T] at 24 kHz (one talk of the agent, little else)."""
        words = self._decode(pcm, _PADDINGS_S[0])
        if not is_complete(words) and (voiced := speech_segments(pcm)):
            # The decoder may lose the end of a clear sentence, "goodbye" more often than not; cut close and
            # begun elsewhere, it finds most of them.
            first, last = (round(at_s * SAMPLE_RATE_HZ) for at_s in (voiced[0].start_s, voiced[-1].end_s))
            again = (self._decode(pcm[first:last], padding_s) for padding_s in _PADDINGS_S[1:])
            words = next((one for one in again if is_complete(one)), words)
        return Verdict(words, order_in(words), number_in(words))

    def _decode(self, pcm: Pcm, padding_s: float) -> str:
        silence = np.zeros(int(padding_s * _RATE_HZ), np.float32)
        sound = np.concatenate([silence, resample(pcm, SAMPLE_RATE_HZ, _RATE_HZ), silence])
        # The acoustic model knows no digital silence: a floor 60 dB down keeps its features finite.
        sound = sound * (_PEAK / max(float(np.abs(sound).max(initial=0.0)), 1e-4))
        sound = sound + np.random.default_rng(0).normal(0, 10, len(sound))
        self._decoder.start_utt()
        self._decoder.process_raw(sound.astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""


def _dulled(phones: str) -> list[str]:
    """What else the telephone's band leaves of "six", "thank" and "thanks", whose hiss lies above it."""
    ends = [phones]
    if phones.endswith("K S"):
        ends += [phones.removesuffix("K S") + dull for dull in ("K F", "K", "K TH")]
    heads = ("F ", "HH ", "P ", "T ", "") if phones.startswith("TH AE ") else ()
    return [*ends[1:], *(head + end.removeprefix("TH ") for head in heads for end in ends)]


@cache
def pronounced(word: str) -> str:
    """ARPAbet for a word that the recogniser's dictionary lacks, from the agent's own synthesiser."""
    if word in _HUMS:
        return _HUMS[word]
    phones = [timed.phone for timed in synthesize(word, AGENT_VOICE).phones]
    return " ".join(phone.upper() for phone in phones if phone != SILENCE)


def _any_of(parts: Iterable[str]) -> str:
    return "( " + " | ".join(dict.fromkeys(parts)) + " )"


@cache
def _grammar() -> str:
    """Every line, read-back and foil as JSGF; what angry callers are offered may stand before anything."""
    lines = [plain(line.text) for line in AGENT_LINES if not line.text.startswith(ANGRY_PREFIX)]
    rules = {
        "line": _any_of([*lines, *FOIL_LINES, *map(plain, IN_ONE_BREATH)]),
        "amount": _any_of([one for one in (*AMOUNTS, *FOIL_AMOUNTS) if one]),
        "extra": "[ <amount> ] " + _any_of((*MILKS, *SUGARS, *FOIL_EXTRAS)),
        "quality": _any_of((*SIZES, *FOIL_SIZES)),
        "drink": (
            f"[ <quality> ] [ {_any_of((*ROASTS, *FOIL_ROASTS))} ] [ {_any_of((*SHOTS, *FOIL_SHOTS))} ] "
            f"{_any_of((*DRINKS, *FOIL_DRINKS))}"
        ),
        "digit": _any_of(DIGIT_WORDS),
        "question": "is that right",
        "calm": "( a | an ) <drink> [ with <extra> [ and <extra> ] ] <question>",
        "terse": "<drink> [ <extra> [ <extra> ] ] right",
        "number": f"{' '.join(['<digit>'] * NUM_DIGITS)} ( <question> | right )",
    }
    body = "".join(f"<{name}> = {rule};\n" for name, rule in rules.items())
    said = "<line> | <calm> | <terse> | <number>"
    return f"#JSGF V1.0;\ngrammar agent;\n{body}public <said> = [ {plain(ANGRY_PREFIX)} ] ( {said} );\n"


def without_offer(words: str) -> str:
    """What was said after the offer that angry callers get."""
    return words.removeprefix(plain(ANGRY_PREFIX)).strip()


_READ_BACK = re.compile(
    rf"(?:an? )?(?:(?P<size>{'|'.join((*SIZES, *FOIL_SIZES))}) )?(?:(?P<roast>\w+ roast) )?"
    rf"(?:(?P<shots>\w+ shot) )?(?P<drink>{'|'.join((*DRINKS, *FOIL_DRINKS))})"
    r"(?: (?P<extras>.+))?(?: is that)? right"
)
_EXTRA = re.compile(
    rf"(?:(?:{'|'.join(one for one in (*AMOUNTS, *FOIL_AMOUNTS) if one)}) )?"
    rf"(?:{'|'.join(sorted((*MILKS, *SUGARS, *FOIL_EXTRAS), key=len, reverse=True))})"
)


def order_in(words: str) -> Order | None:
    """The order that these words read back, if they do; foils stand in it as they were said."""
    match = _READ_BACK.fullmatch(without_offer(words))
    if match is None:
        return None
    extras = re.sub(r" is that$", "", match["extras"] or "")
    milk = sugar = None
    for extra in _EXTRA.findall(extras):
        if isinstance(meant := understand(extra), Change) and meant.sugar:
            sugar = extra
        else:
            milk = extra
    return Order(match["drink"], match["size"], milk, match["roast"], match["shots"], sugar)


def number_in(words: str) -> str | None:
    """The number that these words read back, if they do."""
    said = without_offer(words)
    is_read_back = said.endswith("right") and all(word in DIGIT_WORDS for word in said.split()[:NUM_DIGITS])
    return digits_in(said) if is_read_back else None


_LINES = frozenset(plain(text) for text in (*(line.text for line in AGENT_LINES), *IN_ONE_BREATH))
_FOILS = frozenset(" ".join(FOIL_SLOTS).split()) - frozenset(" ".join(SLOT_WORDS).split())


def is_complete(words: str) -> bool:
    """Whether these are all the words of one of the grammar's sentences, the agent's or a foil."""
    is_read_back = order_in(words) is not None or number_in(words) is not None
    return is_read_back or without_offer(words) in _LINES or words in FOIL_LINES


def is_own_line(words: str) -> bool:
    """Whether these are all the words of one of the agent's lines.

    The grammar offers whole lines alone: of a line that breaks off the judge hears nothing, or a foil.
    """
    is_read_back = order_in(words) is not None or number_in(words) is not None
    return without_offer(words) in _LINES or (is_read_back and not _FOILS & set(words.split()))
