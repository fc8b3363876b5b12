"""Listening quality of a call from its network figures: the E-model with its defaults. Pure functions.

Source: ITU-T G.107 (06/2015) with all parameters at their defaults, which leaves R = 93.2 - Idd - Ie,eff:
Idd and Ie,eff of section 7, R to MOS of annex B; Ie and Bpl of G.711 with packet loss concealment are those
of ITU-T G.113 appendix I. The scale is narrow-band: G.722 is scored as if it were G.711, so it reads low.
It knows the network only: neither the model's voice nor a transcoder on the way.
"""

import math

R_DEFAULT = 93.2
LOSS_ROBUSTNESS = 25.1  # Bpl of G.711 with concealment, random loss
EQUIPMENT_IMPAIRMENT = 0.0  # Ie of G.711
DELAY_ONSET_S = 0.1  # absolute delay below this impairs nothing


def delay_impairment(one_way_delay_s: float) -> float:
    """Idd: what the absolute mouth-to-ear delay takes from R."""
    if one_way_delay_s <= DELAY_ONSET_S:
        return 0.0
    x = math.log2(one_way_delay_s / DELAY_ONSET_S)
    return 25.0 * (math.pow(1 + x**6, 1 / 6) - 3 * math.pow(1 + (x / 3) ** 6, 1 / 6) + 2)


def loss_impairment(loss_ratio: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff: what losing this share of packets (0..1) takes from R; burst_ratio 1 is random loss."""
    percent = 100.0 * loss_ratio
    share = percent / (percent / burst_ratio + LOSS_ROBUSTNESS) if percent else 0.0
    return EQUIPMENT_IMPAIRMENT + (95.0 - EQUIPMENT_IMPAIRMENT) * share


def mos_of_rating(rating: float) -> float:
    """Mean opinion score, 1..4.5, of a rating R."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    # The cubic dips under 1 for R below 6.5; the recommendation means 1 there.
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def mos(*, loss_ratio: float, one_way_delay_s: float, burst_ratio: float = 1.0) -> float:
    """Conversational quality MOS-CQE of one direction of a call."""
    assert 0.0 <= loss_ratio <= 1.0, loss_ratio
    assert one_way_delay_s >= 0.0, one_way_delay_s
    rating = R_DEFAULT - delay_impairment(one_way_delay_s) - loss_impairment(loss_ratio, burst_ratio)
    return mos_of_rating(rating)
