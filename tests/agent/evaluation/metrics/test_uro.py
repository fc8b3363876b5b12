"""The Repeat set and the errors of spoken answers, by hand."""

import pytest

from agent.evaluation.metrics.uro import repeat_score, spoken_errors


def test_repeating_scores_the_share_that_repeats_times_its_words() -> None:
    score = repeat_score(
        [
            ("the cat sat down", "The cat sat down."),
            ("the cat sat down", "the cat sat"),  # WER .25
            ("the cat sat down", "the dog ran down"),  # .5 is still a repetition
            ("the cat sat down", "sure, what shall I repeat"),
        ]
    )
    assert score.is_ok == (True, True, True, False)
    assert score.wer_of_ok == pytest.approx(0.25)
    assert score.score == pytest.approx(100 * 0.75 * 0.75)


def test_a_model_that_repeats_nothing_scores_nothing() -> None:
    assert repeat_score([("say this", "no")]).score == 0
    assert repeat_score([]).score == 0


def test_spoken_answers_are_held_against_their_own_text() -> None:
    assert spoken_errors([("It is four.", "it is four"), ("yes", "yes yes yes")]) == [0, 2]
