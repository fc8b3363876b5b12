"""The energy gate on scenes whose edges are known."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from agent.energy_gate import (
    SILENCE_DBFS,
    Edge,
    EnergyGate,
    GateConfig,
    NoiseFloor,
    Pcm,
    Segment,
    find_segments,
)
from model.channel import g711, resample
from model.voices import HELD_OUT_VOICES, synthesize
from model.voices_phones import SILENCE

RATE = 24_000

SENTENCES = ("I would like a large latte please", "two small cappuccinos", "what are your opening hours")


def tone(seconds: float, dbfs: float = -20.0, hz: float = 300.0, rate: int = RATE) -> Pcm:
    times = np.arange(round(seconds * rate)) / rate
    wave = 10 ** (dbfs / 20) * np.sqrt(2) * np.sin(2 * np.pi * hz * times)
    return np.asarray(wave, np.float32)


def silence(seconds: float, rate: int = RATE) -> Pcm:
    return np.zeros(round(seconds * rate), np.float32)


def edges(segments: list[Segment]) -> list[float]:
    return [second for segment in segments for second in (segment.start_s, segment.end_s)]


def test_segments_lie_where_the_tone_was() -> None:
    pcm = np.concatenate([silence(0.5), tone(0.6), silence(0.5), tone(1.0), silence(0.5)])
    found = find_segments(pcm)
    assert edges(found) == pytest.approx([0.5, 1.1, 1.6, 2.6], abs=0.011)


def test_short_bursts_are_not_speech_and_short_holes_do_not_split() -> None:
    pcm = np.concatenate([silence(0.5), tone(0.05), silence(0.5), tone(0.3), silence(0.19), tone(0.3)])
    found = find_segments(pcm)
    assert edges(found) == pytest.approx([1.05, 1.84], abs=0.011)
    split = find_segments(np.concatenate([tone(0.3), silence(0.21), tone(0.3)]))
    assert len(split) == 2


@pytest.mark.parametrize("chunk", [1, 77, 240, 1920, 100_000])
def test_chunk_size_never_shows(chunk: int) -> None:
    rng = np.random.default_rng(3)
    pcm = np.concatenate([silence(0.2), tone(0.4), silence(0.3), tone(0.3, -44.0), tone(0.2), silence(0.3)])
    pcm = (pcm + rng.normal(0, 1e-4, len(pcm))).astype(np.float32)[: 24_000 if chunk == 1 else None]
    whole = EnergyGate()
    expected = whole.push(pcm) + whole.finish()
    gate = EnergyGate()
    events = [e for at in range(0, len(pcm), chunk) for e in gate.push(pcm[at : at + chunk])] + gate.finish()
    assert events == expected and events


def test_an_onset_is_known_after_100_ms_and_back_dated() -> None:
    gate = EnergyGate()
    gate.push(silence(1.0))
    assert gate.push(tone(0.09)) == [] and not gate.is_speaking
    (event,) = gate.push(tone(0.05))
    assert event.edge is Edge.ONSET
    assert (event.at_s, event.known_at_s) == pytest.approx((1.0, 1.1))
    assert gate.is_speaking and gate.open_since_s == pytest.approx(1.0)
    gate.push(silence(0.15))
    assert gate.is_speaking and gate.silent_for_s == pytest.approx(0.15, abs=0.011)
    (offset,) = gate.push(silence(0.06))
    assert offset.edge is Edge.OFFSET and offset.at_s == pytest.approx(1.14, abs=0.011)
    assert not gate.is_speaking and gate.open_since_s is None


def test_a_call_that_opens_with_speech_is_heard_from_its_first_sample() -> None:
    (segment,) = find_segments(np.concatenate([tone(1.0), silence(0.3)]))
    assert segment.start_s == 0.0


def test_a_noisy_line_raises_the_threshold() -> None:
    noise = np.random.default_rng(1).normal(0, 10 ** (-38 / 20), RATE * 8).astype(np.float32)
    noise[5 * RATE : 6 * RATE] += tone(1.0, -18.0)
    late = [s for s in find_segments(noise) if s.start_s > 3.5]
    assert len(late) == 1 and late[0].start_s == pytest.approx(5.0, abs=0.011)
    assert late[0].end_s == pytest.approx(6.0, abs=0.011)


def scene(rate: int) -> Pcm:
    return np.concatenate([silence(0.333, rate), tone(0.5, -25.0, rate=rate), silence(0.4, rate)])


def test_the_rate_does_not_move_an_edge() -> None:
    low, high = (find_segments(scene(rate), GateConfig(rate_hz=rate)) for rate in (8000, RATE))
    assert low == high and len(low) == 1


def edge_errors() -> tuple[list[float], list[float]]:
    """By how many seconds the gate's first onset and last offset miss the synthesiser's, for ten voices."""
    onsets, offsets = [], []
    espeak = [
        voice for voice in HELD_OUT_VOICES if voice.engine == "espeak"
    ]  # quick, and times to the sample
    for number, voice in enumerate(espeak[:: len(espeak) // 9]):
        spoken = synthesize(SENTENCES[number % 3], voice)
        phones = [phone for phone in spoken.phones if phone.phone != SILENCE]
        line = g711(resample(spoken.pcm, RATE, 8_000), "pcmu")
        heard = find_segments(
            np.concatenate([silence(0.5, 8_000), line, silence(0.5, 8_000)]), GateConfig(8_000)
        )
        onsets.append(heard[0].start_s - 0.5 - phones[0].start_s)
        offsets.append(heard[-1].end_s - 0.5 - phones[-1].end_s)
    return onsets, offsets


def test_the_bias_against_speech_with_known_times_is_subtracted() -> None:
    # In a process of its own: how espeak ends a word depends on what it has said before.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        onsets, offsets = alone.submit(edge_errors).result()
    assert abs(float(np.median(onsets))) <= 0.010, onsets
    assert abs(float(np.median(offsets))) <= 0.025, offsets
    assert np.percentile(np.abs(onsets), 75) <= 0.040, onsets


def fading(level_dbfs: float, *, tail_below_db: float, noise_dbfs: float = -90.0) -> Pcm:
    """1 s of voice from 4.0 s on and a weak last consonant of 80 ms, over noise: float32 [6 s]."""
    rng = np.random.default_rng(3)
    pcm = rng.normal(0, 10 ** (noise_dbfs / 20), 6 * RATE)
    voice = rng.normal(0, 10 ** (level_dbfs / 20), RATE + RATE * 2 // 25)
    voice[RATE:] *= 10 ** (-tail_below_db / 20)
    pcm[4 * RATE : 4 * RATE + len(voice)] += voice
    return pcm.astype(np.float32)


@pytest.mark.parametrize("level_dbfs", [-20.0, -30.0, -38.0])
def test_with_a_tail_an_end_does_not_depend_on_the_level(level_dbfs: float) -> None:
    config = GateConfig(tail_db=30.0, offset_bias_s=0.0)
    (heard,) = find_segments(fading(level_dbfs, tail_below_db=24.0), config)
    assert heard.end_s == pytest.approx(5.08, abs=0.011)
    (cut,) = find_segments(fading(-30.0, tail_below_db=24.0), GateConfig(offset_bias_s=0.0))
    assert cut.end_s == pytest.approx(5.0, abs=0.011)


def test_a_tail_ends_in_the_lines_noise() -> None:
    config = GateConfig(tail_db=30.0, offset_bias_s=0.0)
    (heard,) = find_segments(fading(-30.0, tail_below_db=24.0, noise_dbfs=-50.0), config)
    assert heard.end_s == pytest.approx(5.0, abs=0.011)


def test_a_noisy_lines_first_words_end_although_its_noise_is_not_known_yet() -> None:
    early = fading(-30.0, tail_below_db=24.0, noise_dbfs=-50.0)[round(3.5 * RATE) :]
    (heard,) = find_segments(early, GateConfig(tail_db=30.0, offset_bias_s=0.0))
    assert heard.end_s == pytest.approx(1.5, abs=0.011)


def test_the_next_segment_has_a_level_of_its_own() -> None:
    loud_then_quiet = np.concatenate([fading(-15.0, tail_below_db=60.0), fading(-38.0, tail_below_db=24.0)])
    ends = [one.end_s for one in find_segments(loud_then_quiet, GateConfig(tail_db=30.0, offset_bias_s=0.0))]
    assert ends == pytest.approx([5.0, 11.08], abs=0.011)


def test_the_noise_floor_is_the_least_mean_of_its_window() -> None:
    config = GateConfig()
    size = round(config.noise_window_s / config.hop_s)
    levels = np.random.default_rng(5).integers(-70, -20, 3 * size).astype(float).tolist()
    levels[size : size + 300] = [-33.0] * 300  # equal ones, too
    floor = NoiseFloor(config)
    means = [SILENCE_DBFS] * size
    for number, level in enumerate(levels, start=1):
        latest = levels[max(0, number - 5) : number]
        means.append(sum(latest) / len(latest))
        assert floor.push(level) == min(means[-size:])
