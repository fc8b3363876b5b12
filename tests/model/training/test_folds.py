"""The split is fixed, even, and grows without moving anyone."""

from collections import Counter

from model.training.folds import NUM_FOLDS, Selection, fold_of, speaker_folds

CLIPS = {f"orders/{n}": fold_of(f"orders/{n}") for n in range(2000)}


def test_folds_are_even_and_fixed() -> None:
    counts = Counter(CLIPS.values())
    assert set(counts) == set(range(NUM_FOLDS))
    assert all(abs(count - 400) < 80 for count in counts.values())
    assert [fold_of("orders/a"), fold_of("orders/b"), fold_of("digits/a")] == [4, 1, 1]


def test_the_folds_partition_the_clips() -> None:
    trained = [Selection(fold).choose(CLIPS) for fold in range(NUM_FOLDS)]
    left_out = [set(CLIPS) - some for some in trained]
    assert set().union(*left_out) == set(CLIPS)
    assert sum(map(len, left_out)) == len(CLIPS)
    assert Selection().choose(CLIPS) == set(CLIPS)


def test_a_smaller_limit_takes_from_the_larger_and_never_the_fold() -> None:
    few, many = Selection(1, 50).choose(CLIPS), Selection(1, 300).choose(CLIPS)
    assert (len(few), len(many)) == (50, 300)
    assert few < many
    assert all(CLIPS[clip] != 1 for clip in many)
    assert few != frozenset(sorted(many)[:50]), "a shuffle, not the first by name"


def test_a_speaker_is_in_one_fold() -> None:
    assert speaker_folds(["theo", "ann", "theo", "bo"]) == {"ann": 0, "bo": 1, "theo": 2}
