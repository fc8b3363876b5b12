"""The agent's sentences as sound: the decoder learns the voice, the language model the lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from model.numbers import digits_in
from model.order import AMOUNTS, Order
from model.order_line import AGENT_LINES, ANGRY_PREFIX, Line, read_number, readback
from model.phrasings import Tone
from model.training.pool import WORDED_TONES, Pool
from model.voices import AGENT_VOICE, TimedPhone, TimedWord, synthesize

LEVEL = 0.35  # peak of the agent's voice
RATE_HZ = 24_000
FADE_SAMPLES = 120
COMMA_S = 0.12  # between the parts of a terse read-back
SOFT_GAIN = 0.32  # -10 dB: under one's breath


@dataclass(frozen=True)
class AgentSentence:
    """One sentence in the agent's voice: float32 [T] at 24 kHz, words and phones timed from its start."""

    text: str
    pcm: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]
    is_soft: bool = False


@cache
def speak(text: str) -> AgentSentence:
    """A sentence of the order line's.

    Remembered, because the engine's excitation is noise: two syntheses of one text are not the same sound.
    """
    return _synthesized(text)


def _synthesized(text: str) -> AgentSentence:
    """A sentence with the silence before its first and after its last word cut to 40 ms and 120 ms."""
    speech = synthesize(text, AGENT_VOICE, rate=1.0)
    head_s = max(0.0, speech.words[0].start_s - 0.04)
    start, end = round(24_000 * head_s), round(24_000 * (speech.words[-1].end_s + 0.12))
    peak = float(np.abs(speech.pcm).max())
    pcm = (speech.pcm[start:end] * (LEVEL / peak)).astype(np.float32)
    words = [TimedWord(w.text, w.start_s - head_s, w.end_s - head_s) for w in speech.words]
    end_s = len(pcm) / RATE_HZ
    phones = [
        TimedPhone(p.phone, max(0.0, p.start_s - head_s), min(p.end_s - head_s, end_s))
        for p in speech.phones
        if head_s < p.end_s and p.start_s - head_s < end_s
    ]
    return AgentSentence(text, pcm, words, phones)


def _part(sentence: AgentSentence, first: int | None, stop: int) -> AgentSentence:
    """The stretch from the start of word `first` to the start of word `stop` (or the sentence's end).

    What lies before the first word comes along with 0; None is the first word without it.
    """
    start_s = sentence.words[first or 0].start_s if first != 0 else 0.0
    first = first or 0
    end_s = sentence.words[stop].start_s if stop < len(sentence.words) else len(sentence.pcm) / RATE_HZ
    start, end = round(start_s * RATE_HZ), round(end_s * RATE_HZ)
    pcm = sentence.pcm[start:end].copy()
    ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    if start:
        pcm[:FADE_SAMPLES] *= ramp
    if end < len(sentence.pcm):
        pcm[-FADE_SAMPLES:] *= ramp[::-1]
    words = [
        TimedWord(w.text, w.start_s - start_s, min(w.end_s, end_s) - start_s)
        for w in sentence.words[first:stop]
    ]
    phones = [
        TimedPhone(p.phone, max(0.0, p.start_s - start_s), min(p.end_s, end_s) - start_s)
        for p in sentence.phones
        if p.end_s > start_s and p.start_s < end_s
    ]
    return AgentSentence(" ".join(w.text for w in words), pcm, words, phones)


@cache
def _cut(carrier: str, first: int, stop: int) -> AgentSentence:
    """Some words of a sentence; each stretch that read-backs are made of is cut from one carrier alone."""
    return _part(speak(carrier), first, stop)


def _quality(words: str) -> list[AgentSentence]:
    """A size, a roast or shots before the drink. "Medium" is the same word in a size and in a roast."""
    if words == "medium roast":
        return [_cut("A medium latte with milk. Is that right?", 1, 2), _cut(f"A large {_ROAST}", 3, 4)]
    article = "An" if words[0] in "aeiou" else "A"
    return [_cut(f"{article} {words} latte with milk. Is that right?", 1, 1 + len(words.split()))]


_ROAST = "dark roast latte with milk. Is that right?"


def _drink(drink: str) -> list[AgentSentence]:
    if drink.startswith("iced "):
        iced = _cut("A large iced coffee with milk. Is that right?", 2, 3)
        return [iced, *_drink(drink.removeprefix("iced "))]
    return [_cut(f"A large {drink} with milk. Is that right?", 2, 2 + len(drink.split()))]


def _extra(extra: str) -> list[AgentSentence]:
    """Milk or sugar with its amount: "a little" and "a lot of" begin with the same word."""
    parts = []
    amount = next((one for one in AMOUNTS if one and extra.startswith(f"{one} ")), "")
    if amount:
        parts.append(_cut("A large latte with a lot of milk. Is that right?", 4, 5))
        parts.append(_cut(f"A large latte with {amount} milk. Is that right?", 5, 4 + len(amount.split())))
    kind = extra.removeprefix(f"{amount} ") if amount else extra
    return [*parts, _cut(f"A large latte with {kind}. Is that right?", 4, 4 + len(kind.split()))]


def _silence(seconds: float) -> AgentSentence:
    return AgentSentence("", np.zeros(round(seconds * RATE_HZ), np.float32), [], [])


def _joined(text: str, parts: list[AgentSentence]) -> AgentSentence:
    words, phones, at_s = [], [], 0.0
    for part in parts:
        words += [TimedWord(w.text, w.start_s + at_s, w.end_s + at_s) for w in part.words]
        phones += [TimedPhone(p.phone, p.start_s + at_s, p.end_s + at_s) for p in part.phones]
        at_s += len(part.pcm) / RATE_HZ
    return AgentSentence(text, np.concatenate([part.pcm for part in parts]), words, phones)


def _named(order: Order) -> list[AgentSentence]:
    qualities = [word for word in (order.size, order.roast, order.shots) if word]
    return [part for words in qualities for part in _quality(words)] + _drink(order.drink)


def _speak_order(order: Order, text: str) -> AgentSentence:
    parts = [
        _cut("An americano with milk. Is that right?" if text[1] == "n" else _LATTE, 0, 1),
        *_named(order),
    ]
    for link, extra in zip(("with", "and"), (one for one in (order.milk, order.sugar) if one), strict=False):
        place = 3 if link == "with" else 5
        parts += [_cut("A large latte with milk and sugar. Is that right?", place, place + 1), *_extra(extra)]
    return _joined(text, [*parts, _cut(_LATTE, 5, 99)])


_LATTE = "A large latte with milk. Is that right?"


def _speak_tersely(order: Order, text: str) -> AgentSentence:
    parts = _named(order)
    if order.size == "eight ounce":  # a number may begin with the same word
        ounce = _cut("An eight ounce latte with milk. Is that right?", 2, 3)
        parts = [_digit("8", 0), ounce, *_named(replace(order, size=None))]
    for extra in (one for one in (order.milk, order.sugar) if one):
        parts += [_silence(COMMA_S), *_extra(extra)]
    return _joined(text, [*parts, _silence(COMMA_S), _cut("A large latte. Right?", 3, 4)])


def speak_readback(order: Order, tone: Tone = Tone.CALM) -> AgentSentence:
    """A read-back whose sound up to any word is the same whatever follows."""
    line = readback(order, tone)
    if tone is Tone.HURRIED:
        return _speak_tersely(order, line.text)
    return _in_tone(_speak_order(order, readback(order).text), line)


def speak_number(digits: str, tone: Tone = Tone.CALM) -> AgentSentence:
    """A number's read-back: each digit's sound is that of its place, whatever stands beside it."""
    parts = [_digit(digit, place) for place, digit in enumerate(digits)]
    question = read_number(_CARRIER_DIGITS, Tone.HURRIED if tone is Tone.HURRIED else Tone.CALM)
    line = read_number(digits, tone)
    said = _joined(line.text.removeprefix(f"{ANGRY_PREFIX} "), [*parts, _cut(question.text, len(digits), 99)])
    return _in_tone(said, line)


def speak_told(text: str) -> AgentSentence:
    """A sentence that the runtime tells the agent to say; a number's read-back sounds as the order line's."""
    digits = digits_in(text)
    if digits is not None and text == read_number(digits).text:
        return speak_number(digits)
    return _synthesized(text)  # thousands of them, each once: nothing to remember


_CARRIER_DIGITS = "5551234"


def _digit(digit: str, place: int) -> AgentSentence:
    return _cut(_carrier(digit, place), place, place + 1)


def _carrier(digit: str, place: int) -> str:
    return read_number(f"{_CARRIER_DIGITS[:place]}{digit}{_CARRIER_DIGITS[place + 1 :]}").text


def _in_tone(said: AgentSentence, line: Line) -> AgentSentence:
    """The sentence as the line has it: after the offer of a person, or softly."""
    if line.text.startswith(ANGRY_PREFIX):
        said = _joined(line.text, [_fixed_sounds()[ANGRY_PREFIX], _part(said, None, len(said.words))])
    return soften(said) if line.is_soft else said


def soften(said: AgentSentence) -> AgentSentence:
    """The same, under one's breath."""
    return replace(said, pcm=said.pcm * np.float32(SOFT_GAIN), is_soft=True)


@cache
def _fixed_sounds() -> dict[str, AgentSentence]:
    """The fixed lines, calm and terse, and the offer to angry callers. Lines that begin with the same words
    sound the same so far: a later line takes its beginning from the first that has it.
    """
    sounds: dict[str, AgentSentence] = {}
    texts = [line.text for line in AGENT_LINES if not line.text.startswith(ANGRY_PREFIX)]
    one = _carrier("1", 0)  # a number may begin as "One moment" does
    for text in [one, ANGRY_PREFIX, *texts]:
        said = speak(text)
        same, alike = max(((_num_alike(said, other), other) for other in sounds.values()), default=(0, None),
                          key=lambda pair: pair[0])  # fmt: skip
        if alike is not None and same:
            end = [_part(said, same, 99)] if same < len(said.words) else []
            said = _joined(text, [_part(alike, 0, same), *end])
        sounds[text] = said
    return sounds


def _num_alike(one: AgentSentence, other: AgentSentence) -> int:
    """With how many words both begin."""
    pairs = zip(one.words, other.words, strict=False)
    return next(
        (n for n, (a, b) in enumerate(pairs) if a.text != b.text), min(len(one.words), len(other.words))
    )


def speak_line(line: Line) -> AgentSentence:
    """A fixed line in its tone."""
    return _in_tone(_fixed_sounds()[line.text.removeprefix(f"{ANGRY_PREFIX} ")], line)


def pool_sentences(pool: Pool) -> list[AgentSentence]:
    """Everything that the agent can be asked to say in calls about a pool's orders, no line twice."""
    said: dict[tuple[str, bool], AgentSentence] = {}
    for line in pool.fixed_lines():
        said.setdefault((line.text, line.is_soft), speak_line(line))
    for tone in Tone:
        _read_back(said, pool, tone, tone)
    for tone in Tone:
        for heard in (one for one in WORDED_TONES if one is not tone):
            _read_back(said, pool, tone, heard)
    return list(said.values())


def _read_back(said: dict[tuple[str, bool], AgentSentence], pool: Pool, tone: Tone, heard: Tone) -> None:
    """Add what callers of a tone say as it is read back to those of the tone that is heard."""
    for order in (one for wish in pool.wishes[tone] for one in (wish.order, wish.changed)):
        line = readback(order, heard)
        if (line.text, line.is_soft) not in said:
            said[line.text, line.is_soft] = speak_readback(order, heard)
    for number in pool.numbers[tone]:
        line = read_number(number, heard)
        said.setdefault((line.text, line.is_soft), speak_number(number, heard))
