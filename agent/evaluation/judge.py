"""Which sentence did the agent say? A closed-grammar recogniser over what the caller heard.

pocketsphinx with its bundled 16 kHz model chooses among the order line's own sentences, every possible
read-back, and more than 60 foils that sound alike or belong to other shops: open vocabulary is useless at
8 kHz (word error rate 0.6), a closed grammar is not. One judge belongs to one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.segments import SAMPLE_RATE_HZ
from model.channel import resample
from model.order_line import AGENT_LINES, DRINKS, MILKS, NOBODY, SIZES, TRANSFER, Order
from model.voices import AGENT_VOICE, SILENCE, synthesize

_RATE_HZ = 16_000
_PADDING_S = 0.25
_PEAK = 12_000
FOIL_SIZES = ("tiny", "huge", "double", "extra large", "regular")
FOIL_DRINKS = (
    "tea", "green tea", "hot chocolate", "flat white", "cold brew", "lemonade", "orange juice", "matcha",
    "macchiato", "iced tea", "black coffee", "water",
)  # fmt: skip
FOIL_MILKS = ("oat milk", "rice milk", "coconut milk", "sugar", "brown sugar", "honey", "ice", "lemon")
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
    """What was heard: the words, and the order if they read one back. Empty words: nothing intelligible."""

    words: str
    order: Order | None = None

    def says(self, text: str) -> bool:
        """True if these are the words of a line (punctuation, case, and "a" for "an" aside)."""
        return _any_article(self.words) == _any_article(plain(text))


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
        for word in _words(grammar.split("=")[1]):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronounced(word), False)
        # The agent's own way ("latte" as in "latch") counts beside the dictionary's.
        for word in _words(" ".join((*(line.text for line in AGENT_LINES), *SIZES, *DRINKS, *MILKS))):
            if self._decoder.lookup_word(word) != (own := pronounced(word)):
                self._decoder.add_word(f"{word}(9)", own, False)
        self._decoder.add_jsgf_string("agent", grammar)
        self._decoder.activate_search("agent")

    def hear(self, pcm: Pcm) -> Verdict:
        """The most likely sentence in float32 [T] at 24 kHz (one talk of the agent, little else)."""
        words = self._decode(pcm)
        return Verdict(words, order_in(words))

    def _decode(self, pcm: Pcm) -> str:
        silence = np.zeros(int(_PADDING_S * _RATE_HZ), np.float32)
        sound = np.concatenate([silence, resample(pcm, SAMPLE_RATE_HZ, _RATE_HZ), silence])
        # The acoustic model knows no digital silence: a floor 60 dB down keeps its features finite.
        sound = sound * (_PEAK / max(float(np.abs(sound).max(initial=0.0)), 1e-4))
        sound = sound + np.random.default_rng(0).normal(0, 10, len(sound))
        self._decoder.start_utt()
        self._decoder.process_raw(sound.astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""


def pronounced(word: str) -> str:
    """ARPAbet for a word that the recogniser's dictionary lacks, from the agent's own synthesiser."""
    phones = [timed.phone for timed in synthesize(word, AGENT_VOICE).phones]
    return " ".join(phone.upper() for phone in phones if phone != SILENCE)


@cache
def _grammar() -> str:
    """Every line, read-back and foil as JSGF."""
    lines = [plain(line.text) for line in AGENT_LINES] + list(FOIL_LINES)
    lines += [f"{plain(TRANSFER.text)} {plain(NOBODY.text)}"]  # said in one breath when nobody is free

    def any_of(parts: Iterable[str]) -> str:
        return "( " + " | ".join(dict.fromkeys(parts)) + " )"

    read_back = (
        f"( a | an ) [ {any_of((*SIZES, *FOIL_SIZES))} ] {any_of((*DRINKS, *FOIL_DRINKS))} "
        f"[ with {any_of((*MILKS, *FOIL_MILKS))} ] is that right"
    )
    return f"#JSGF V1.0;\ngrammar agent;\npublic <line> = {any_of(lines)} | {read_back};\n"


_READ_BACK = re.compile(
    rf"an? (?:(?P<size>{'|'.join((*SIZES, *FOIL_SIZES))}) )?"
    r"(?P<drink>.+?)(?: with (?P<milk>.+))? is that right"
)


def order_in(words: str) -> Order | None:
    """The order that these words read back, if they do."""
    match = _READ_BACK.fullmatch(words)
    return Order(match["drink"], match["size"], match["milk"]) if match else None
