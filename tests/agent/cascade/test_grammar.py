"""The language model is one, its probabilities sum to 1; a whole sentence is told from a broken-off one."""

import math
from pathlib import Path

import pytest

from agent.cascade.grammar import is_complete, is_open, training_sentences, write_trigrams
from model.phrasings import PHRASINGS


def test_where_a_caller_stops() -> None:
    assert is_complete("can i get a large latte") and is_complete("yes please")
    assert is_open("can i get a large") and not is_complete("can i get a large")
    assert not is_open("") and not is_complete("") and not is_complete("mountains")


def test_probabilities_of_the_words_after_a_history_sum_to_one(tmp_path: Path) -> None:
    write_trigrams(training_sentences()[:500], tmp_path / "a.lm")
    grams: dict[tuple[str, ...], tuple[float, float]] = {}
    for line in (tmp_path / "a.lm").read_text().splitlines():
        parts = line.split("\t")
        if len(parts) > 1:
            grams[tuple(parts[1].split())] = (float(parts[0]), float(parts[2]) if len(parts) > 2 else 0.0)

    def probability(history: tuple[str, ...], word: str) -> float:
        found = grams.get((*history, word))
        if found is not None:
            return 10 ** found[0]
        backoff = 10 ** grams[history][1] if history in grams else 1.0
        return backoff * probability(history[1:], word)

    words = [gram[0] for gram in grams if len(gram) == 1 and gram[0] != "<s>"]
    for history in ((), ("<s>",), ("can", "i"), ("a",), ("with", "lots")):
        assert math.fsum(probability(history, word) for word in words) == pytest.approx(1.0, abs=0.01), (
            history
        )


def test_held_out_wordings_teach_the_recogniser_nothing() -> None:
    said = set(training_sentences())
    held_out = {text.lower() for some in PHRASINGS.values() for text in some.held_out}
    assert len(said & held_out) < 0.1 * len(held_out)
