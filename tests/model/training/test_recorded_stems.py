"""What a run may hear: nothing of its fold, no clip without words, numbers instead of single digits."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from model.errors import RecordingError
from model.order_line import Intent, Order, Request, Tone, readback
from model.training.bank import Stem, Turn, save_shard
from model.training.feed import Share
from model.training.folds import Selection
from model.training.pool import draw_pool
from model.training.recorded_stems import RecordedBank, pool_with_orders
from model.voices_phones import TimedPhone, TimedWord

NAMES = [f"{digit}_{who}" for who in ("ann", "bo") for digit in ("one", "two", "three", "four")]


def _turn(corpus: str, name: str, *, known: bool = True) -> Turn:
    pcm = np.full(4800, 0.1, np.float32)
    words = [TimedWord(name.split("_")[0], 0.02, 0.18)] if known else []
    phones = [TimedPhone("ah", 0.02, 0.18)] if known else []
    return Turn(Request(Intent.OTHER, name), pcm, words, phones, clip=f"{corpus}/{name}")


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


def _stems(bank: RecordedBank) -> list[Stem]:
    """What a worker that reads every shard would draw from."""
    return [stem for shard in sorted(bank.store.glob("*.npz")) for stem in bank.load(shard)]


def test_clips_of_the_fold_are_never_drawn(tmp_path: Path) -> None:
    store = _store(tmp_path, "said", "sentences")
    for fold, heard in ((0, "bo"), (1, "ann")):
        bank = RecordedBank(store, Selection(fold))
        assert {turn.clip.split("_")[1] for stem in _stems(bank) for turn in stem.turns} == {heard}
        draw = bank.drawing(Share(0, 2, 1))
        assert {draw(random.Random(n)).voice for n in range(20)} == {f"recorded/said/{heard}"}
    assert len([turn for stem in _stems(RecordedBank(store, Selection())) for turn in stem.turns]) == 8


def test_one_reader_is_drawn_less_often_than_many(tmp_path: Path) -> None:
    many = RecordedBank(_store(tmp_path, "read", "speech"), Selection())
    store = _store(tmp_path, "one", "speech")
    for account in store.glob("*.json"):
        account.write_text(account.read_text("utf-8").replace('"bo"', '"ann"'), "utf-8")
    assert RecordedBank(store, Selection()).weight < many.weight


def test_a_limit_takes_that_many_clips(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "said", "sentences"), Selection(limit=3))
    assert {turn.clip for stem in _stems(bank) for turn in stem.turns} == bank.clips
    assert (len(bank.clips), bank.num_clips) == (3, 8)


def test_digits_become_numbers_of_the_chosen_clips(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "digits", "digits"), Selection(1))
    stems = _stems(bank)
    assert {stem.voice for stem in stems} == {"recorded/digits/ann"}
    assert min(len(turn.words) for stem in stems for turn in stem.turns) >= 3
    texts = [[word.text for word in turn.words] for stem in stems for turn in stem.turns]
    assert texts == [[word.text for word in turn.words] for stem in _stems(bank) for turn in stem.turns]


def test_speech_of_unknown_words_is_sound_only(tmp_path: Path) -> None:
    bank = RecordedBank(_store(tmp_path, "murmur", "words", known=False), Selection(0))
    assert not bank.teaches_hearing
    assert _stems(bank) == []
    assert len(list(bank.sounds())) == 4
    noise = RecordedBank(_store(tmp_path, "street", "noise"), Selection())
    assert not noise.teaches_hearing, "noise has no words, whatever its shards say"


def test_a_corpus_that_was_never_aligned_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="run the stage `recordings` first"):
        RecordedBank(tmp_path / "said", Selection())


def test_recorded_orders_are_in_the_pool_that_the_agent_speaks_of() -> None:
    small = draw_pool(num_orders=8, num_numbers=4)
    order = Order("latte", "twenty ounce", "a lot of cream", "dark roast", "triple shot", "a little sugar")
    turn = Turn(Request(Intent.ORDER, "", order), np.zeros(1, np.float32), [], [])
    stems = [Stem("recorded/orders/a", [turn, turn]), Stem("b", [_turn("said", "one_ann")])]
    grown = pool_with_orders(small, stems)
    assert readback(order) not in small.lines()
    assert readback(order) in grown.lines()
    assert len(grown.wishes[Tone.CALM]) == len(small.wishes[Tone.CALM]) + 1
    wish = grown.wishes[Tone.CALM][-1]
    assert wish.change.apply(order) == wish.changed
    assert pool_with_orders(grown, stems) == grown
