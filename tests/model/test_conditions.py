"""What a condition says is what is heard: each factor is measured from the sound that comes out."""

from dataclasses import replace

import numpy as np
import pytest

from model.conditions import (
    BACKGROUND_SPEECH_DB,
    Around,
    Condition,
    Pcm,
    apply,
    background_speech,
    draw_condition,
    side_talk,
)
from model.echo import Echo
from model.line_codecs import RATES_HZ, Codec
from model.noise import SoundPool
from model.packet_loss import PACKET_S, Loss

RATE_HZ = 24_000
RNG = np.random.default_rng(0)
POOL = SoundPool(
    noises=[RNG.normal(0, 0.3, 3 * RATE_HZ).astype(np.float32)],
    speech=[RNG.normal(0, 0.1, 2 * RATE_HZ).astype(np.float32) for _ in range(3)],
)
CLEAN = Condition(codec="g722", low_hz=80, high_hz=7000)


def _tone(seconds: float, hz: float = 700.0) -> Pcm:
    return np.asarray(
        0.2 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ), np.float32
    )


SAID = np.concatenate([_tone(1.0), np.zeros(2 * RATE_HZ, np.float32)])
PAUSE = slice(round(1.3 * RATE_HZ), None)


def dbfs(pcm: Pcm) -> float:
    return float(10 * np.log10(np.mean(np.square(pcm, dtype=np.float64)) + 1e-12))


@pytest.mark.parametrize("codec", RATES_HZ)
@pytest.mark.parametrize("num_samples", [1920, 24_001])
def test_length_and_timing_stay_whatever_happens(codec: Codec, num_samples: int) -> None:
    pcm = np.zeros(num_samples, np.float32)
    pcm[960:] = _tone(2, 1000)[: num_samples - 960]
    worst = Condition(
        codec=codec,
        room=3,
        around="recorded",
        snr_db=25,
        background_speech_db=-30,
        echo=Echo(60, -40, 1),
        clip_db=9,
        loss=Loss(0.05),
    )
    heard = apply(pcm, worst, agent=_tone(1, 300), pool=POOL)
    assert heard.shape == pcm.shape and heard.dtype == np.float32
    onset = int(np.argmax(np.abs(apply(pcm, Condition(codec=codec))) > 0.02))
    assert abs(onset - 960) <= 24 if codec != "opus" else abs(onset - 960) <= 150
    np.testing.assert_array_equal(heard, apply(pcm, worst, agent=_tone(1, 300), pool=POOL))


@pytest.mark.parametrize("around", ["pink", "rumble", "recorded", "babble", "beat", "hum"])
@pytest.mark.parametrize("snr_db", [0.0, 12.0, 30.0])
def test_noise_lies_at_its_ratio(around: Around, snr_db: float) -> None:
    condition = replace(CLEAN, around=around, snr_db=snr_db)
    heard = apply(SAID, condition, pool=POOL)
    beside = heard - apply(SAID, CLEAN)
    assert condition.level_dbfs - dbfs(beside) == pytest.approx(snr_db, abs=1.0)


def test_the_level_is_that_of_the_active_speech() -> None:
    for level_dbfs in (-38.0, -20.0):
        assert dbfs(apply(SAID, replace(CLEAN, level_dbfs=level_dbfs))[:RATE_HZ]) == pytest.approx(
            level_dbfs, abs=0.5
        )


def test_background_speech_is_as_far_below_as_it_says() -> None:
    heard = apply(SAID, replace(CLEAN, background_speech_db=BACKGROUND_SPEECH_DB), pool=POOL)
    assert dbfs(heard[PAUSE]) == pytest.approx(CLEAN.level_dbfs + BACKGROUND_SPEECH_DB, abs=1)


@pytest.mark.parametrize(("delay_ms", "return_db"), [(50.0, -15.0), (220.0, -30.0)])
def test_the_echo_of_the_agent_lies_in_the_callers_channel(delay_ms: float, return_db: float) -> None:
    agent = np.zeros(len(SAID), np.float32)
    agent[round(1.5 * RATE_HZ) : 2 * RATE_HZ] = _tone(0.5, 900)
    heard = apply(SAID, replace(CLEAN, echo=Echo(delay_ms, return_db, 2)), agent=agent)
    start = round(1.5 * RATE_HZ + delay_ms / 1000 * RATE_HZ)
    # G.722 itself sits some 60 dB below full scale in such a pause.
    assert dbfs(heard[round(1.3 * RATE_HZ) : start - 100]) < -60
    assert dbfs(heard[start : start + RATE_HZ // 2]) == pytest.approx(dbfs(_tone(0.5)) + return_db, abs=2.5)


def test_an_echo_without_the_agent_is_refused() -> None:
    with pytest.raises(ValueError, match="pass `agent`"):
        apply(SAID, replace(CLEAN, echo=Echo(50, -20, 0)))
    for condition in (replace(CLEAN, around="babble"), replace(CLEAN, background_speech_db=-15.0)):
        with pytest.raises(ValueError, match="needs a pool"):
            apply(SAID, condition)


def test_a_clipping_microphone_makes_harmonics() -> None:
    def third(pcm: Pcm) -> float:
        spectrum = np.abs(np.fft.rfft(pcm[:RATE_HZ] * np.hanning(RATE_HZ)))
        return float(20 * np.log10(spectrum[2050:2150].max() / spectrum[650:750].max()))

    assert third(apply(SAID, replace(CLEAN, clip_db=0.0))) > -25
    assert third(apply(SAID, CLEAN)) < -35


def test_lost_packets_leave_gaps_at_their_rate() -> None:
    said = _tone(12.0)
    heard = apply(said, replace(CLEAN, loss=Loss(0.1, 2.0, "silence")))
    power = np.square(heard).reshape(-1, round(PACKET_S * RATE_HZ)).mean(1)
    assert np.mean(power < 0.1 * np.median(power)) == pytest.approx(0.1, abs=0.04)


def test_a_room_smears_what_a_handset_does_not() -> None:
    tail = slice(round(1.03 * RATE_HZ), round(1.1 * RATE_HZ))
    assert (
        max(dbfs(apply(SAID, replace(CLEAN, room=n))[tail]) for n in range(6))
        > dbfs(apply(SAID, CLEAN)[tail]) + 10
    )


def test_side_talk_and_background_speech_are_as_published() -> None:
    click = np.zeros(RATE_HZ // 2, np.float32)
    click[0] = 1.0
    beside, far = side_talk(click), background_speech(click)
    for sound, times_s, gains_db in ((beside, (0.045, 0.12), (-6, -12)), (far, (0.1,), (-10,))):
        direct = np.abs(np.fft.rfft(sound[:480]))
        for time_s, gain_db in zip(times_s, gains_db, strict=True):
            late = np.abs(np.fft.rfft(sound[round(time_s * RATE_HZ) :][:480]))
            assert 20 * np.log10(late[20] / direct[20]) == pytest.approx(gain_db, abs=0.5)  # at 1 kHz
    dull = np.abs(np.fft.rfft(beside[:480]))
    assert 20 * np.log10(dull[220] / dull[10]) == pytest.approx(-5, abs=1)
    muffled = np.abs(np.fft.rfft(far[:480]))
    assert 20 * np.log10(muffled[120] / muffled[20]) < -20


def test_drawn_conditions_cover_the_world_and_follow_the_dial() -> None:
    rng = np.random.default_rng(0)
    hard = [draw_condition(rng, POOL, has_agent=True) for _ in range(400)]
    assert {c.codec for c in hard} == set(RATES_HZ)
    assert {"recorded", "babble", "pink", "none", "murmur", "rumble"} <= {c.around for c in hard}
    assert all(0 <= c.snr_db <= 30 for c in hard)
    for part in ("room", "background_speech_db", "echo", "clip_db", "loss"):
        assert 0 < sum(getattr(c, part) is not None for c in hard) < 300
    half = [draw_condition(rng, POOL, hardness=0.5) for _ in range(400)]
    assert sum(c.room is not None for c in half) < 0.7 * sum(c.room is not None for c in hard)
    assert all(c.echo is None for c in half), "nobody told of an agent"
    for clean in (draw_condition(rng, hardness=0.0) for _ in range(50)):
        assert (clean.room, clean.around, clean.loss, clean.clip_db) == (None, "none", None, None)
    assert draw_condition(np.random.default_rng(7), POOL) == draw_condition(np.random.default_rng(7), POOL)
