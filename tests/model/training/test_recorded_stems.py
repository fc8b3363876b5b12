"""What a run may hear: nothing of its fold, no clip without words, numbers instead of single digits."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from model.errors import RecordingError
from model.order_line import Intent, Request
from model.training.bank import Stem, Turn, save_shard
from model.training.feed import Share
from model.training.folds import Selection
from model.training.recorded_stems import RecordedBank
from model.voices_phones import TimedPhone, TimedWord

NAMES = [f"{digit}_{who}" for who in ("ann", "bo") for digit in ("one", "two", "three", "four")]


def _turn(corpus: str, name: str, *, known: bool = True) -> Turn:
    pcm = np.full(4800, 0.1, np.float32)
    words = [TimedWord(name.split("_")[0], 0.02, 0.18)] if known else []
    phones = [TimedPhone("ah", 0.02, 0.18)] if known else []
    return Turn(Request(Intent.OTHER, name), pcm, words, phones, f"{corpus}/{name}")


def _store(folder: Path, corpus: str, layout: str, *, known: bool = True) -> Path:
    """A corpus of eight clips by two speakers in two shards; fold 0 is ann's, fold 1 bo's."""
    store = folder / corpus
    store.mkdir()
    (store / "SOURCES.md").write_text("Made here.", "utf-8")
    for number, who in enumerate(("ann", "bo")):
        turns = [_turn(corpus, name, known=known) for name in NAMES if name.endswith(who)]
        shard = store / f"recordings-{corpus}-{number:04d}.npz"
        save_shard([Stem(f"recorded/{corpus}/{who}", turns)], shard)
        clips = {turn.clip: [who, number, known] for turn in turns}
        shard.with_suffix(".json").write_text(json.dumps({"layout": layout, "clips": clips}), "utf-8")
    return store


def test_clips_of_the_fold_are_never_drawn(tmp_path: Path) -> None:
    store = _store(tmp_path, "said", "sentences")
    for fold, heard in ((0, "bo"), (1, "ann")):
        bank = RecordedBank(store, Selection(fold))
        assert {turn.clip.split("_")[1] for stem in bank.stems() for turn in stem.turns} == {heard}
        draw = bank.drawing(Share(0, 2, 1))
        assert {draw(random.Random(n)).voice for n in range(20)} == {f"recorded/said/{heard}"}
    assert len([turn for stem in RecordedBank(store, Selection()).stems() for turn in stem.turns]) == 8


def test_a_limit_takes_that_many_clips(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "said", "sentences"), Selection(limit=3))
    assert {turn.clip for stem in bank.stems() for turn in stem.turns} == bank.clips
    assert (len(bank.clips), bank.num_clips) == (3, 8)


def test_digits_become_numbers_of_the_chosen_clips(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "digits", "digits"), Selection(1))
    stems = list(bank.stems())
    assert {stem.voice for stem in stems} == {"recorded/digits/ann"}
    assert min(len(turn.words) for stem in stems for turn in stem.turns) >= 3
    texts = [turn.request.text for stem in stems for turn in stem.turns]
    assert texts == [turn.request.text for stem in bank.stems() for turn in stem.turns]
    assert texts != [turn.request.text for stem in bank.stems(seed=1) for turn in stem.turns]


def test_speech_of_unknown_words_is_sound_only(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "murmur", "words", known=False), Selection(0))
    assert not bank.teaches_hearing
    assert list(bank.stems()) == []
    assert len(list(bank.sounds())) == 4
    noise = RecordedBank(_store(tmp_path, "street", "noise"), Selection())
    assert not noise.teaches_hearing, "noise has no words, whatever its shards say"


def test_a_corpus_that_was_never_aligned_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="run the stage `recordings` first"):
        RecordedBank(tmp_path / "said", Selection())
