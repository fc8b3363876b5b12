"""The listener's training: what it is asked in which frame; only it moves; it learns to tell two sounds."""

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from model.codec import Codec
from model.config import ProsodyConfig
from model.phrasings import Intent, Tone
from model.prosody import PITCH_DIM
from model.requests import Request
from model.training import tone_bank
from model.training.acoustics import Acoustics
from model.training.bank import NO_LABEL, Stem, Turn
from model.training.feed import Share
from model.training.manners import AFTER_FRAMES, FIRST_FRAMES, MANNERS, NOBODY, NUM_CODES
from model.training.results import freeze
from model.training.tone_stage import (
    KEPT_LEAD_FRAMES,
    ToneClip,
    ToneDials,
    ToneTraining,
    collate,
    label,
    tone_clips,
)
from model.voices import TimedWord
from tests.model import tiny
from tests.signals import noise

CONFIG = replace(tiny.CODEC_CONFIG, prosody=ProsodyConfig(NUM_CODES, dim=16))
RATE = 24_000


def _turn(tone: Tone, seconds: float, gain: float) -> Turn:
    request = Request(Intent.HOURS, "when", tone=tone)
    return Turn(request, gain * noise(seconds, RATE, seed=1), [TimedWord("when", 0.0, seconds)], [])


def test_frames_are_labelled_where_one_can_tell() -> None:
    labels = label(3, first=10, last=30, num_frames=50)
    assert labels[:9].tolist() == [NOBODY] * 9
    assert set(labels[9 : 10 + FIRST_FRAMES]) == {NO_LABEL}
    assert set(labels[10 + FIRST_FRAMES : 31 + AFTER_FRAMES]) == {3}, "as `heard_manner` tells it"
    assert set(labels[31 + AFTER_FRAMES : 31 + 2 * AFTER_FRAMES]) == {NO_LABEL}
    assert labels[31 + 2 * AFTER_FRAMES :].tolist() == [NOBODY] * 11


def test_a_clip_is_what_the_listener_hears_in_a_call() -> None:
    """Cut after the codec's cold start, its frames where the speech is; too short a word is left out."""
    codec = tiny.codec(config=CONFIG)
    turns = [_turn(Tone.ANGRY, 1.6, 0.3), _turn(Tone.CALM, 0.2, 0.3)]
    (clip,) = tone_clips(codec, [Stem("one", turns)], Acoustics(), np.random.default_rng(0))
    channels = CONFIG.seanet.dimension + PITCH_DIM
    assert clip.given.shape == (channels, 2 * len(clip.labels))
    assert abs(clip.last - (KEPT_LEAD_FRAMES + 20)) <= 1
    told = np.flatnonzero(clip.labels == MANNERS[Tone.ANGRY])
    assert told[0] - KEPT_LEAD_FRAMES - FIRST_FRAMES in (0, 1) and told[-1] == clip.last + AFTER_FRAMES
    loudness = clip.given[-1].astype(float)
    assert loudness[2 * (KEPT_LEAD_FRAMES + 4)] > loudness[4] + 0.3


def test_a_batch_asks_nothing_beyond_a_clips_end() -> None:
    short, long = (ToneClip(np.ones((4, 2 * n), np.float16), np.full(n, 2), n - 8) for n in (20, 30))
    given, labels, weights = collate([short, long])
    assert given.shape == (2, 4, 60) and not given[0, :, 40:].any()
    assert (labels[0, 20:] == NO_LABEL).all() and (labels[1] == 2).all()
    assert weights[1, 20] > weights[1, 5]


def test_it_learns_to_tell_loud_from_soft_and_nothing_else_moves(tmp_path: Path) -> None:
    codec = freeze(Codec(CONFIG))  # as the stage is given it
    assert codec.prosody is not None
    rng = random.Random(0)
    turns = [
        _turn(tone, rng.uniform(1.0, 1.6), gain)
        for tone, gain in ((Tone.ANGRY, 0.4), (Tone.WHISPER, 0.01))
        for _ in range(8)
    ]
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    clips = tone_clips(codec, [Stem("one", turns)], Acoustics(), np.random.default_rng(0))
    training = ToneTraining(codec.prosody, clips, clips, ToneDials(minutes=1e9, utterances=8), tmp_path)
    assert codec.prosody.training and codec.prosody.gru.training, "also where the codec was frozen"
    training.settle()
    for batch in islice(training.batches(Share(0, 1, 0)), 250):
        training.step(batch)
    assert training.num_skipped == 0
    told = training.validate(clips)
    assert told == {"val_angry_acc": 1.0, "val_whisper_acc": 1.0}
    for name, tensor in codec.state_dict().items():
        if not name.startswith("prosody.") or "decimate" in name:
            assert torch.equal(tensor, before[name]), name


def test_a_speaker_says_the_same_plainly_and_in_every_tone() -> None:
    stem = tone_bank.make_tone_stem(3)
    each = 1 + len(Tone)
    assert len(stem.turns) == tone_bank.REQUESTS_PER_STEM * each
    for at in range(0, len(stem.turns), each):
        said = [turn.request for turn in stem.turns[at : at + each]]
        assert len({one.text for one in said if one is not None}) == 1
        assert [one.tone for one in said if one is not None] == [Tone.CALM, *Tone]
    lengths = {len(turn.pcm) for turn in stem.turns[:each]}
    assert len(lengths) == each, "each at its own speed"
    assert len({tone_bank.make_tone_stem(seed).voice for seed in (3, 4, 5)}) == 3


def test_what_plain_callers_say_is_a_share_of_each_batch(tmp_path: Path) -> None:
    codec = tiny.codec(config=CONFIG)
    assert codec.prosody is not None
    loud, soft = (
        tone_clips(codec, [Stem("one", [_turn(tone, 1.2, 0.3)])], Acoustics(), np.random.default_rng(0))
        for tone in (Tone.ANGRY, Tone.CALM)
    )
    dials = ToneDials(minutes=1e9, utterances=8)
    training = ToneTraining(codec.prosody, loud, [], dials, tmp_path, plain=[soft, [], soft])
    _, labels, _ = next(iter(training.batches(Share(0, 1, 0))))
    told = labels.clamp(min=0).amax(1).tolist()
    assert sorted(told) == [MANNERS[Tone.CALM]] * 4 + [MANNERS[Tone.ANGRY]] * 4
