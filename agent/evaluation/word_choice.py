"""How many words of a known sentence were understood: each chosen among words that sound alike.

A recogniser with an open vocabulary is useless at 8 kHz, and one that is told the sentence hears it anywhere.
So a grammar of its own is made for each sentence: at every place the right word and foils, which differ from
it in as few phones as the dictionary has. Guessing gives one in `1 + NUM_FOILS`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.metrics.word_errors import Edit, align, words_of
from agent.evaluation.segments import SAMPLE_RATE_HZ
from model.channel import resample

NUM_FOILS = 4
_RATE_HZ = 16_000
_PADDING_S = 0.25
_PEAK = 12_000

Phones = tuple[str, ...]


def read_dictionary() -> dict[str, Phones]:
    """The recogniser's words and how each is said first; 0.3 s."""
    from pocketsphinx import get_model_path

    path = Path(get_model_path("en-us/cmudict-en-us.dict"))
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {row[0]: tuple(row[1:]) for row in rows if row[0].isalpha()}


def foils_of(
    words: Iterable[str], dictionary: Mapping[str, Phones], seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """For each word NUM_FOILS others, those that differ in one phone first, then in two, then any as long."""
    wanted = {word: dictionary[word] for word in words if word in dictionary}
    near: dict[tuple[str, ...], list[str]] = {key: [] for phones in wanted.values() for key in _masks(phones)}
    for other, phones in dictionary.items():
        for key in _masks(phones):
            if key in near:
                near[key].append(other)
    return {word: _nearest(word, phones, near, dictionary, seed) for word, phones in wanted.items()}


def _masks(phones: Phones) -> Iterable[tuple[str, ...]]:
    """The word with one phone open, and with two neighbours open."""
    for at in range(len(phones)):
        yield (*phones[:at], "?", *phones[at + 1 :])
    for at in range(len(phones) - 1):
        yield (*phones[:at], "??", *phones[at + 2 :])


def _nearest(
    word: str,
    phones: Phones,
    near: Mapping[tuple[str, ...], Sequence[str]],
    dictionary: Mapping[str, Phones],
    seed: int,
) -> tuple[str, ...]:
    found: dict[str, int] = {}
    for key in _masks(phones):
        for other in near[key]:
            if dictionary[other] != phones:  # not "two" for "too"
                found[other] = min(found.get(other, 2), 1 if "?" in key else 2)
    rng = random.Random(f"{seed}/{word}")
    ranked = sorted(found, key=lambda other: (found[other], rng.random()))[:NUM_FOILS]
    if len(ranked) < NUM_FOILS:
        as_long = [o for o, p in dictionary.items() if abs(len(p) - len(phones)) <= 1 and p != phones]
        ranked += rng.sample(as_long, NUM_FOILS - len(ranked))
    return tuple(ranked)


class WordChooser:
    """A decoder and its foils for some sentences. One belongs to one thread."""

    def __init__(self, sentences: Sequence[str]) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL", lm=None, samprate=_RATE_HZ)
        dictionary = read_dictionary()
        self._foils = foils_of({word for text in sentences for word in words_of(text)}, dictionary)

    def hear(self, text: str, pcm: Pcm) -> tuple[int, int]:
        """(words understood, words there are) of a sentence, from float32 [T] at 24 kHz.

        A word that the dictionary lacks is not asked for.
        """
        said = [word for word in words_of(text) if word in self._foils]
        heard = self._decode(text, pcm)
        right = sum(step.edit is Edit.RIGHT for step in align(said, heard))
        return right, len(said)

    def _decode(self, text: str, pcm: Pcm) -> list[str]:
        places = [(word, *self._foils[word]) for word in words_of(text) if word in self._foils]
        rule = " ".join("( " + " | ".join(sorted(place)) + " )" for place in places)
        self._decoder.add_jsgf_string(
            "sentence", f"#JSGF V1.0;\ngrammar sentence;\npublic <sentence> = {rule};\n"
        )
        self._decoder.activate_search("sentence")
        silence = np.zeros(int(_PADDING_S * _RATE_HZ), np.float32)
        sound = np.concatenate([silence, resample(pcm, SAMPLE_RATE_HZ, _RATE_HZ), silence])
        sound = sound * (_PEAK / max(float(np.abs(sound).max(initial=0.0)), 1e-4))
        sound = sound + np.random.default_rng(0).normal(0, 10, len(sound))
        self._decoder.start_utt()
        self._decoder.process_raw(sound.astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr).split() if hypothesis is not None else []
