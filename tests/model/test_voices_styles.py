"""A style changes how a sentence is said, not its words or level; length and middle F0 do not tell which."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from model.channel import active_rms
from model.pitch_marks import track_f0
from model.voices import SAMPLE_RATE_HZ, SpeechSynthesisError, Style, Utterance, Voice, synthesize
from model.voices_styles import Spoken, restyle

TEXT = "I would like a large mocha, with soy milk."
WITHOUT_PAUSE = "can I get a mocha"
VOICES = (
    Voice("flite", "awb"),
    Voice("festival", "ked"),
    Voice("espeak", "en-us", "f3"),
    Voice("flite", "kal16", formants=1.2, f0=1.7),
)


@cache
def _said(voice: Voice, style: Style | None) -> Utterance:
    return synthesize(TEXT, voice, style=style)


def _octaves(said: Utterance) -> NDArray[np.float64]:
    f0 = track_f0(said.pcm, SAMPLE_RATE_HZ, said.phones)
    return np.asarray(np.log2(f0[f0 > 0]))


def _brightness_db(said: Utterance) -> float:
    power = np.abs(np.fft.rfft(said.pcm)) ** 2
    hz = np.fft.rfftfreq(len(said.pcm), 1 / SAMPLE_RATE_HZ)
    high, low = power[(hz > 1500) & (hz < 3400)].sum(), power[(hz > 200) & (hz < 900)].sum()
    return 10 * float(np.log10(high / low))


def _pause_s(said: Utterance) -> float:
    last_s = said.words[-1].start_s
    return max(p.end_s - p.start_s for p in said.phones[1:] if p.phone == "sil" and p.start_s < last_s)


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
@pytest.mark.parametrize("style", list(Style), ids=lambda style: style.value)
def test_words_level_and_times_stay_true(voice: Voice, style: Style) -> None:
    plain, said = _said(voice, None), _said(voice, style)
    assert [word.text for word in said.words] == [word.text for word in plain.words]
    assert said.pcm.dtype == np.float32 and np.abs(said.pcm).max() < 1
    wanted, got = (active_rms(one.pcm, SAMPLE_RATE_HZ) for one in (plain, said))
    assert got == pytest.approx(wanted, rel=0.12)
    assert [p.end_s for p in said.phones[:-1]] == pytest.approx([p.start_s for p in said.phones[1:]])
    assert said.phones[-1].end_s == pytest.approx(said.duration_s, abs=1e-3)
    ends_s = [word.end_s for word in said.words]
    assert np.diff(ends_s).min() > 0 and ends_s[-1] <= said.duration_s
    # Sound follows the times: vowels are loud, and what lies before and after the words is quiet.
    at = [round(edge * SAMPLE_RATE_HZ) for edge in (said.words[0].start_s, said.words[-1].end_s)]
    outside = np.concatenate([np.zeros(1), said.pcm[: max(0, at[0] - 600)], said.pcm[at[1] + 2400 :]])
    vowels = [p for p in said.phones if p.phone in ("aa", "ay", "ow", "oy", "ih")]
    inside = [said.pcm[round(p.start_s * SAMPLE_RATE_HZ) : round(p.end_s * SAMPLE_RATE_HZ)] for p in vowels]
    assert np.sqrt(np.mean(np.square(outside))) < 0.15 * min(np.sqrt(np.mean(np.square(x))) for x in inside)


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_hurried_has_short_pauses_and_no_fall(voice: Voice) -> None:
    calm, hurried = _said(voice, Style.CALM), _said(voice, Style.HURRIED)
    assert _pause_s(hurried) < 0.6 * _pause_s(calm)

    def fall(said: Utterance) -> float:
        octaves = _octaves(said)
        return float(octaves[-10:].mean() - np.median(octaves))

    assert fall(hurried) > fall(calm) + 0.08


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_angry_is_wider_in_f0_and_brighter(voice: Voice) -> None:
    calm, angry = _said(voice, Style.CALM), _said(voice, Style.ANGRY)
    spans = [float(np.subtract(*np.percentile(_octaves(said), [90, 10]))) for said in (calm, angry)]
    assert spans[1] > 1.25 * spans[0]
    assert _brightness_db(angry) > _brightness_db(calm) + 4


def _periodicity(said: Utterance) -> float:
    """Median over vowels of the highest autocorrelation between lags of 60 and 330 Hz."""
    strengths = []
    for phone in said.phones:
        if phone.phone in ("aa", "ae", "ah", "ay", "ow", "oy", "ih"):
            middle = round((phone.start_s + phone.end_s) / 2 * SAMPLE_RATE_HZ)
            piece = said.pcm[middle - 480 : middle + 480]
            correlation = np.correlate(piece, piece, "full")[959:]
            strengths.append(float(correlation[72:400].max() / correlation[0]))
    return float(np.median(strengths))


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
def test_a_whisper_has_no_voice(voice: Voice) -> None:
    calm, whisper = (_periodicity(_said(voice, style)) for style in (Style.CALM, Style.WHISPER))
    assert whisper < 0.42 and whisper < 0.75 * calm


def test_length_and_middle_f0_overlap_between_tones() -> None:
    """A rule on length or F0 alone is near chance over 20 draws a tone; one on the end's F0 is well above."""
    rng = np.random.default_rng(0)
    rows: dict[Style, list[list[float]]] = {Style.CALM: [], Style.HURRIED: []}
    for number in range(40):
        voice, style = VOICES[number % 4], (Style.CALM, Style.HURRIED)[number // 4 % 2]
        rate, pitch = rng.uniform(0.85, 1.25), rng.uniform(0.85, 1.2)
        said = synthesize(WITHOUT_PAUSE, voice, rate=rate, pitch=pitch, rng=rng, style=style)
        octaves = _octaves(said)
        middle = float(np.median(octaves))
        rows[style].append([said.duration_s, middle, float(octaves[-10:].mean()) - middle])
    accuracies = [_best_threshold(rows, column) for column in range(3)]
    assert max(accuracies[:2]) < 0.72 and accuracies[2] > 0.75, accuracies


def _best_threshold(rows: dict[Style, list[list[float]]], column: int) -> float:
    """How often the best threshold on one figure tells hurried from calm (half is chance)."""
    calm, hurried = (np.array(rows[style])[:, column] for style in (Style.CALM, Style.HURRIED))
    both = np.concatenate([calm, hurried])
    shares = [np.mean(np.concatenate([calm < edge, hurried >= edge])) for edge in both]
    return float(max(max(share, 1 - share) for share in shares))


def test_shades_are_drawn_and_repeat_with_their_seed() -> None:
    plain = _said(VOICES[1], None)
    said = Spoken(plain.pcm, plain.words, plain.phones)

    def draw(seed: int) -> Spoken:
        return restyle(said, SAMPLE_RATE_HZ, Style.WHISPER, np.random.default_rng(seed))

    assert np.array_equal(draw(1).pcm, draw(1).pcm)
    assert len(draw(1).pcm) != len(draw(2).pcm)
    assert len(_said(VOICES[1], Style.CALM).pcm) == len(synthesize(TEXT, VOICES[1], style=Style.CALM).pcm)


def test_a_style_needs_words_all_the_same() -> None:
    with pytest.raises(SpeechSynthesisError, match="ASCII"):
        synthesize("-", VOICES[0], style=Style.CALM)
