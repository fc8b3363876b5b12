"""Every engine speaks, says where each word and phone lies, and the held-out voices stay apart."""

import numpy as np
import pytest

from model.voices import (
    AGENT_VOICE,
    HELD_OUT_VOICES,
    PHONES,
    SAMPLE_RATE_HZ,
    TRAIN_VOICES,
    SpeechSynthesisError,
    Utterance,
    Voice,
    draw_voice,
    synthesize,
)
from model.voices_phones import plain_word

TEXT = "Can I get a large mocha, with soy milk? I'd like the drive-through."
ONE_OF_EACH = [
    AGENT_VOICE,
    Voice("flite", "slt", formants=0.88, f0=0.58),
    Voice("flite", "awb"),
    Voice("flite", "kal16", formants=1.2, f0=1.7),
    Voice("flite", "kal"),
    Voice("festival", "kal", formants=1.15, f0=1.6),
    Voice("festival", "ked"),
    Voice("espeak", "en-us", "f3"),
    Voice("espeak", "en-gb-scotland", "klatt4"),
    Voice("espeak", "en-029"),
]


def level_dbfs(said: Utterance, start_s: float, end_s: float) -> float:
    part = said.pcm[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]
    return 10 * float(np.log10(np.mean(np.square(part)) + 1e-12))


@pytest.mark.parametrize("voice", ONE_OF_EACH, ids=lambda voice: voice.name)
def test_words_and_phones_lie_where_the_sound_is(voice: Voice) -> None:
    said = synthesize(TEXT, voice)
    assert [word.text for word in said.words] == [plain_word(token) for token in TEXT.split()]
    assert said.pcm.dtype == np.float32 and np.abs(said.pcm).max() == pytest.approx(0.5, abs=1e-3)
    edges = [edge for word in said.words for edge in (word.start_s, word.end_s)]
    assert np.diff(edges).min() > -1e-6 and edges[-1] <= said.duration_s
    assert {phone.phone for phone in said.phones} <= set(PHONES)
    assert [p.end_s for p in said.phones[:-1]] == pytest.approx([p.start_s for p in said.phones[1:]])
    assert said.phones[-1].end_s == pytest.approx(said.duration_s, abs=1e-3)
    vowels = [
        level_dbfs(said, p.start_s, p.end_s) for p in said.phones if p.phone in ("aa", "ay", "ow", "oy")
    ]
    pauses = [p for p in said.phones if p.phone == "sil" and p.end_s - p.start_s > 0.12]
    assert min(vowels) > -30
    assert pauses and max(level_dbfs(said, p.start_s + 0.04, p.end_s - 0.04) for p in pauses) < -40


def test_rate_and_pitch_do_what_they_say() -> None:
    for voice in (Voice("flite", "awb"), Voice("festival", "ked"), Voice("espeak", "en-us")):
        plain, fast = synthesize(TEXT, voice), synthesize(TEXT, voice, rate=1.3)
        assert fast.duration_s == pytest.approx(plain.duration_s / 1.3, rel=0.12)
        assert f0_hz(synthesize(TEXT, voice, pitch=1.3)) == pytest.approx(1.3 * f0_hz(plain), rel=0.1)


def f0_hz(said: Utterance) -> float:
    """Median of the strongest autocorrelation lag between 60 and 350 Hz over the vowels."""
    lags = []
    for phone in said.phones:
        if phone.phone in ("aa", "ae", "ay", "iy", "ow", "oy", "ao"):
            middle = int((phone.start_s + phone.end_s) / 2 * SAMPLE_RATE_HZ)
            piece = said.pcm[middle - 480 : middle + 480]
            lags.append(68 + int(np.correlate(piece, piece, "full")[959 + 68 : 959 + 400].argmax()))
    return SAMPLE_RATE_HZ / float(np.median(lags))


def test_warped_voice_keeps_its_length_and_its_f0_target() -> None:
    plain, warped = Voice("flite", "slt"), Voice("flite", "slt", formants=0.9)
    assert synthesize(TEXT, warped).duration_s == pytest.approx(synthesize(TEXT, plain).duration_s, rel=0.02)
    assert f0_hz(synthesize(TEXT, warped)) == pytest.approx(f0_hz(synthesize(TEXT, plain)), rel=0.08)


def test_a_generator_varies_the_speaker() -> None:
    rng = np.random.default_rng(0)
    lengths = {len(synthesize("hello there", Voice("flite", "awb"), rng=rng).pcm) for _ in range(4)}
    assert len(lengths) == 4


def test_held_out_speakers_never_train() -> None:
    def identity(voice: Voice) -> tuple[str, str]:
        return (voice.engine, voice.variant if voice.engine == "espeak" else voice.speaker)

    held_out = {identity(voice) for voice in HELD_OUT_VOICES}
    trained = {identity(voice) for voice in TRAIN_VOICES}
    assert not held_out & trained
    assert identity(AGENT_VOICE) not in held_out | trained
    assert {("festival", "ked"), ("espeak", "f3"), ("espeak", "Henrique")} <= held_out
    assert len({voice.name for voice in TRAIN_VOICES + HELD_OUT_VOICES}) == len(
        TRAIN_VOICES + HELD_OUT_VOICES
    )


def test_human_voices_make_half_of_the_draws() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_voice(rng, TRAIN_VOICES) for _ in range(2000)]
    assert np.mean([voice.engine != "espeak" for voice in drawn]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("text", ["", " - ", "caf\u00e9"])
def test_unspeakable_text_is_refused(text: str) -> None:
    with pytest.raises(SpeechSynthesisError, match="ASCII"):
        synthesize(text, AGENT_VOICE)


def test_curly_apostrophe_is_spoken() -> None:
    assert [word.text for word in synthesize("I\u2019d pay", AGENT_VOICE).words] == ["i'd", "pay"]
