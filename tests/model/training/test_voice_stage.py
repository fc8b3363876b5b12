"""The voice's training: only what speaks moves, clips are the sound their codes stand for, errors fall."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import FRAME_SAMPLES
from model.order_line import GOODBYE
from model.training.agent_voice import AgentSentence
from model.training.codec_stage import FFT_SIZES
from model.training.feed import Share
from model.training.tokens_stage import SETTLE_FRAMES, encode_padded
from model.training.voice_stage import (
    CLIP_FRAMES,
    FIXED_LINE_SHARE,
    NUM_MELS,
    VoiceDials,
    VoiceLoss,
    VoiceTraining,
    band_weights,
    mel_filters,
)
from tests.model import tiny
from tests.signals import Pcm, noise, tone

ENDLESS = 1e9  # minutes; no share of it is ever spent
RATE = 24_000
SPEAKS = (
    "upsample.",
    "decoder_transformer.",
    "decoder.",
    "quantizer.rvq_first.output_proj.",
    "quantizer.rvq_rest.output_proj.",
)
SHORT, LONG = (
    AgentSentence("short", noise(0.9, RATE, seed=1), [], []),
    AgentSentence(GOODBYE.text, noise(3.1, RATE, seed=2), [], []),
)


def _training(folder: Path, clips: int = 4) -> VoiceTraining:
    torch.manual_seed(0)
    return VoiceTraining(tiny.codec(), [SHORT, LONG], VoiceDials(minutes=ENDLESS, clips=clips), folder)


def test_only_what_speaks_moves_and_codes_stay(tmp_path: Path) -> None:
    training = _training(tmp_path)
    before = {name: tensor.clone() for name, tensor in training.codec.state_dict().items()}
    codes = encode_padded(training.codec, [LONG.pcm[: 30 * FRAME_SAMPLES]])[0]
    for batch in islice(training.batches(Share(0, 1, 0)), 3):
        training.step(batch)
    assert training.num_skipped == 0
    for name, tensor in training.codec.state_dict().items():
        speaks = name.startswith(SPEAKS)
        assert torch.equal(tensor, before[name]) != speaks, name
    np.testing.assert_array_equal(encode_padded(training.codec, [LONG.pcm[: 30 * FRAME_SAMPLES]])[0], codes)


def test_the_error_falls(tmp_path: Path) -> None:
    training = _training(tmp_path, clips=2)
    batch = next(training.batches(Share(0, 1, 0)))
    errors = [training.step(batch)["log10_mel_error"] for _ in range(20)]
    assert errors[-1] < 0.8 * errors[0]


def _whole(sentence: AgentSentence) -> Pcm:
    """A sentence after silence and in silence, as the library has it."""
    tail = 60 * FRAME_SAMPLES - len(sentence.pcm) % FRAME_SAMPLES
    lead = np.zeros(SETTLE_FRAMES * FRAME_SAMPLES, np.float32)
    return np.concatenate([lead, sentence.pcm, np.zeros(tail, np.float32)])


def _find(clip: Pcm, sounds: list[Pcm]) -> tuple[int, int]:
    """Which sound a clip is of, and the frame that it begins with."""
    for number, sound in enumerate(sounds):
        for at in range(len(sound) // FRAME_SAMPLES - CLIP_FRAMES + 1):
            if np.array_equal(sound[at * FRAME_SAMPLES : (at + CLIP_FRAMES) * FRAME_SAMPLES], clip):
                return number, at
    raise AssertionError("the clip lies in no sentence on a frame's border")


def test_a_clip_is_the_sound_that_its_codes_stand_for(tmp_path: Path) -> None:
    training = _training(tmp_path)
    sounds = [_whole(SHORT), _whole(LONG)]
    wanted = [encode_padded(training.codec, [sound])[0] for sound in sounds]
    seen = set()
    for codes, clips in islice(training.batches(Share(0, 1, 0)), 25):
        assert codes.shape == (4, 8, CLIP_FRAMES) and clips.shape == (4, CLIP_FRAMES * FRAME_SAMPLES)
        for mine, clip in zip(codes.numpy(), clips.numpy(), strict=True):
            number, at = _find(clip, sounds)
            np.testing.assert_array_equal(mine, wanted[number][:, at : at + CLIP_FRAMES])
            seen.add((number, at))
    assert len(seen) > 20


def test_shares_have_clips_of_their_own_and_lines_of_every_call_come_oftener(tmp_path: Path) -> None:
    training = _training(tmp_path)
    one, same, other = (next(training.batches(Share(number, 2, 5))) for number in (0, 0, 1))
    assert torch.equal(one[1], same[1]) and not torch.equal(one[1], other[1])
    sounds = [_whole(SHORT), _whole(LONG)]
    batches = islice(training.batches(Share(0, 1, 1)), 50)
    picks = [_find(clip, sounds)[0] for _, clips in batches for clip in clips.numpy()]
    assert picks.count(1) / picks.count(0) == pytest.approx(FIXED_LINE_SHARE, rel=0.5)


def test_the_loss_is_nought_for_the_same_sound_and_grows_with_the_difference() -> None:
    loss = VoiceLoss(torch.device("cpu"))
    wanted = 0.1 * tiny.noise(2, 9600)
    same, error = loss(wanted, wanted)
    assert same == error == 0
    near, far = loss(1.1 * wanted, wanted), loss(2 * wanted, wanted)
    assert 0 < near[0] < far[0] and 0 < near[1] < far[1]
    assert float(far[1]) == pytest.approx(np.log10(2), rel=0.05), "the reported error is of log10 levels"


def test_mel_filters_share_out_the_spectrum() -> None:
    filters = mel_filters(2048, NUM_MELS)
    assert filters.shape == (NUM_MELS, 1025)
    centres = filters.argmax(1)
    inside = slice(int(centres[0]) + 1, int(centres[-1]) - 1)
    torch.testing.assert_close(filters.sum(0)[inside], torch.ones(1025)[inside], atol=1e-5, rtol=0)
    hz = 1000.0
    spectrum = torch.from_numpy(np.abs(np.fft.rfft(tone(hz, 1.0, RATE)[:2048] * np.hanning(2048)))).float()
    loudest = int((filters @ spectrum).argmax())
    assert float(centres[loudest]) * RATE / 2048 == pytest.approx(hz, abs=40)


def test_an_error_in_the_telephones_band_costs_more() -> None:
    loss = VoiceLoss(torch.device("cpu"))
    low, high = _band(500, 3500), _band(4500, 7500)
    silence = torch.zeros_like(low)
    assert float(loss(low, silence)[0]) > 1.3 * float(loss(high, silence)[0])
    for size in FFT_SIZES:
        assert float(band_weights(size).mean()) == pytest.approx(1.0)


def _band(from_hz: int, to_hz: int) -> torch.Tensor:
    """A second of noise in a band, equally loud for all bands of one width."""
    spectrum = torch.fft.rfft(torch.from_numpy(noise(1.0, RATE)).float())
    hz = torch.fft.rfftfreq(RATE, 1 / RATE)
    spectrum[(hz < from_hz) | (hz > to_hz)] = 0
    band: torch.Tensor = torch.fft.irfft(spectrum)[None]
    return band
