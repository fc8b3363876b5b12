"""The E-model against figures that the recommendations and their common tables give."""

import pytest

from agent.mos import delay_impairment, loss_impairment, mos, mos_of_rating


def test_a_perfect_line_scores_what_the_recommendation_says() -> None:
    assert mos(loss_ratio=0.0, one_way_delay_s=0.0) == pytest.approx(4.41, abs=0.005)  # G.107: R = 93.2


@pytest.mark.parametrize(("rating", "score"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_rating_to_score_follows_table_b1(rating: float, score: float) -> None:
    assert mos_of_rating(rating) == pytest.approx(score, abs=0.01)


def test_score_is_bounded() -> None:
    assert mos_of_rating(-5) == mos_of_rating(0) == mos_of_rating(3) == 1.0
    assert mos_of_rating(100) == mos_of_rating(140) == 4.5


@pytest.mark.parametrize(("delay_s", "impairment"), [(0.05, 0.0), (0.1, 0.0), (0.2, 3.04), (0.4, 24.07)])
def test_delay_costs_what_the_formula_gives(delay_s: float, impairment: float) -> None:
    # x = log2(T / 100 ms) is 1 at 200 ms and 2 at 400 ms: worked out by hand.
    assert delay_impairment(delay_s) == pytest.approx(impairment, abs=0.01)


def test_loss_costs_more_when_it_comes_in_bursts() -> None:
    assert loss_impairment(0.0) == 0.0
    assert loss_impairment(0.01) == pytest.approx(3.64, abs=0.01)  # 95 / 26.1
    assert loss_impairment(0.05, burst_ratio=2.0) > loss_impairment(0.05)
    scores = [mos(loss_ratio=loss / 100, one_way_delay_s=0.1) for loss in range(0, 30)]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 1.0


def test_figures_that_cannot_be_are_our_own_fault() -> None:
    with pytest.raises(AssertionError):
        mos(loss_ratio=1.2, one_way_delay_s=0.0)
