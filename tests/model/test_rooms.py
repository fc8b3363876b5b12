"""Rooms decay as fast as they say, and the direct sound stays where and as loud as it was."""

import numpy as np
import pytest

from model.rooms import DISTANCE_M, RT60_S, Pcm, Room, draw_room, impulse_response, pooled, reverberate

RATE_HZ = 24_000


def measured_rt60_s(response: Pcm) -> float:
    """From the slope of the energy that is still to come (M. R. Schroeder, JASA 37, 1965), -5 to -25 dB."""
    left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    level_db = 10 * np.log10(left / left[0] + 1e-12)
    start = int(np.argmax(level_db < level_db[round(0.005 * RATE_HZ)] - 5))
    stop = int(np.argmax(level_db < level_db[start] - 20))
    return float(60 * (stop - start) / RATE_HZ / (level_db[start] - level_db[stop]))


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.7])
def test_the_decay_is_the_rooms(rt60_s: float) -> None:
    rng = np.random.default_rng(1)
    found = [
        measured_rt60_s(impulse_response(draw_room(rng, rt60_s=(rt60_s, rt60_s)), RATE_HZ, rng))
        for _ in range(12)
    ]
    assert np.median(found) == pytest.approx(rt60_s, rel=0.15)


def test_early_images_and_late_noise_meet_at_one_level() -> None:
    rng = np.random.default_rng(2)
    room = Room((5.0, 4.0, 2.6), 0.5, (1.0, 1.2, 1.5), (2.2, 2.0, 1.2))
    responses = [impulse_response(room, RATE_HZ, rng) for _ in range(8)]
    power = np.mean([np.square(r) for r in responses], axis=0)
    before, after = (
        power[round(a * RATE_HZ) : round(b * RATE_HZ)].mean() for a, b in ((0.02, 0.03), (0.03, 0.04))
    )
    assert abs(10 * np.log10(before / after) - 60 * 0.01 / 0.5) < 3


def test_distance_makes_a_voice_more_distant() -> None:
    rng = np.random.default_rng(3)
    ratios_db = []
    for distance_m in (0.1, 0.4, 1.5):
        rooms = [draw_room(rng, rt60_s=(0.4, 0.4), distance_m=(distance_m, distance_m)) for _ in range(8)]
        assert [room.distance_m for room in rooms] == pytest.approx([distance_m] * 8)
        responses = [impulse_response(room, RATE_HZ, rng) for room in rooms]
        ratios_db.append(np.median([10 * np.log10(1 / np.square(r[1:]).sum()) for r in responses]))
    steps_db = -np.diff(ratios_db)
    assert steps_db == pytest.approx([20 * np.log10(4), 20 * np.log10(1.5 / 0.4)], abs=3)


def test_sound_stays_in_place() -> None:
    _, response = pooled(5)
    click = np.zeros(RATE_HZ, np.float32)
    click[4000] = 0.5
    heard = reverberate(click, response)
    assert heard.shape == click.shape
    assert not heard[:3999].round(6).any()
    assert heard[4000] == pytest.approx(0.5, rel=0.05)


def test_a_pooled_room_is_the_same_every_time() -> None:
    room, response = pooled(9)
    pooled.cache_clear()
    again, same = pooled(9)
    assert again == room
    np.testing.assert_array_equal(same, response)
    rooms = [pooled(n)[0] for n in range(12)]
    assert all(
        RT60_S[0] <= r.rt60_s <= RT60_S[1] and DISTANCE_M[0] <= r.distance_m <= DISTANCE_M[1] for r in rooms
    )
