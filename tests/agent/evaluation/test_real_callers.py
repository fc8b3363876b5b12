"""Recorded callers are found by the list that training takes, cut to their speech, and split by its folds."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.errors import AgentError
from agent.evaluation.real_callers import Clip, RealCallers, find_callers, spoken_span, trimmed
from agent.evaluation.scenes import Family, make_scene
from agent.evaluation.stimuli import line_rms
from model.order_line import Intent, Order
from model.training.folds import fold_of
from tests.agent.evaluation.scenes import channel
from tests.signals import tone

RATE_HZ = 24_000


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    for name in ("orders", "digits", "noises", "others"):
        (root / name).mkdir()
    labels = {}
    for number in range(10):
        pcm = channel([(1.0, 2.0)], 4.0, noise=0.001)
        soundfile.write(root / "orders" / f"clip{number}.wav", pcm, RATE_HZ)
        labels[f"clip{number}"] = {"intent": "orderDrink", "slots": {"coffeeDrink": "latte", "size": "large"}}
    (root / "orders" / "labels.json").write_text(json.dumps(labels))
    for speaker in ("ann", "bob"):
        for digit in range(10):
            soundfile.write(root / "digits" / f"{digit}_{speaker}_0.wav", channel([(0.1, 0.4)], 0.5), RATE_HZ)
    soundfile.write(root / "noises" / "hiss.wav", channel([], 2.0, noise=0.1), RATE_HZ)
    for number in range(10):
        soundfile.write(root / "others" / f"{number}.wav", tone(700, 3.0, RATE_HZ), RATE_HZ)
    entries = [("orders", "orders"), ("digits", "digits"), ("noises", "noise"), ("others", "speech")]
    (root / "corpora.toml").write_text(
        "".join(
            f'[[corpus]]\nname = "{name}"\nfolder = "{name}"\nlayout = "{layout}"\n'
            'licence = "CC0"\nsource = "made"\n'
            for name, layout in entries
        )
    )
    return root


def test_everything_is_found(corpora: Path) -> None:
    callers = find_callers(corpora, None)
    assert len(callers.orders) == 10 and callers.orders[0].order == Order("latte", "large")
    assert {speaker: len(clips) for speaker, clips in callers.digits.items()} == {"ann": 10, "bob": 10}
    assert len(callers.pool().noises) == 1 and callers.pool() is callers.pool()


def test_people_beside_the_caller_are_recorded_ones_of_the_fold(corpora: Path) -> None:
    callers = find_callers(corpora, 0)
    assert callers.speech and all(fold_of(f"others/{path.stem}") == 0 for path in callers.speech)
    recorded, made = (make_scene(Family.FLOOR, 0, 0, given) for given in (callers, None))
    for sound in ("side_talk", "background"):
        shares = []
        for scene in (recorded, made):
            (step,) = (one for one in scene.steps if one.sound == sound)
            power = np.square(np.abs(np.fft.rfft(step.pcm)))
            hertz = np.fft.rfftfreq(len(step.pcm), 1 / RATE_HZ)
            shares.append(power[abs(hertz - 700) < 10].sum() / power.sum())
        assert shares[0] > 0.8 > shares[1]


def test_a_fold_is_called_alone(corpora: Path) -> None:
    folds = [find_callers(corpora, fold) for fold in range(2)]
    for fold, callers in enumerate(folds):
        assert all(fold_of(clip.name) == fold for clip in callers.orders)
        assert list(callers.digits) == [["ann"], ["bob"]][fold]  # whole speakers
    assert not {clip.name for clip in folds[0].orders} & {clip.name for clip in folds[1].orders}


def test_a_recording_is_cut_to_its_speech() -> None:
    pcm = channel([(1.0, 2.0)], 4.0, noise=0.001)
    assert spoken_span(pcm).start_s == pytest.approx(1.0, abs=0.03)
    cut, span = trimmed(pcm)
    assert len(cut) / RATE_HZ == pytest.approx(1.6, abs=0.06)
    assert span.start_s == pytest.approx(0.3, abs=0.03) and span.end_s == pytest.approx(1.3, abs=0.05)
    silence = np.zeros(RATE_HZ, np.float32)
    assert trimmed(silence)[1].end_s == 1.0


def test_orders_are_called_clean_and_then_in_recorded_noise(corpora: Path) -> None:
    callers = find_callers(corpora, None)
    clean, noisy = (make_scene(Family.REAL_ORDERS, number, 0, callers) for number in (4, 5))
    assert clean.condition["clip"] == noisy.condition["clip"] and clean.bed is None and noisy.bed is not None
    request = clean.steps[0].step.request
    assert request is not None and request.order == Order("latte", "large")
    assert -31 < 20 * np.log10(line_rms(clean.steps[0].pcm)) < -19


def test_numbers_are_joined_of_one_speakers_digits(corpora: Path) -> None:
    callers = find_callers(corpora, None)
    scenes = [make_scene(Family.REAL_NUMBERS, number, 0, callers) for number in range(2)]
    assert [scene.voice for scene in scenes] == ["ann", "bob"]
    (step,) = scenes[0].steps
    request = step.step.request
    assert request is not None and request.intent is Intent.NUMBER and len(request.number or "") == 7
    assert len(request.text.split()) == 7 and 7 * 0.3 < step.end_s - step.start_s < 4.5


def test_what_cannot_be_called_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="--recordings: "):
        find_callers(tmp_path / "none", None)
    (tmp_path / "n").mkdir()
    soundfile.write(tmp_path / "n" / "a.wav", channel([], 0.2, noise=0.1), RATE_HZ)
    (tmp_path / "corpora.toml").write_text(
        '[[corpus]]\nname = "n"\nfolder = "n"\nlayout = "noise"\nlicence = "x"\nsource = "y"\n'
    )
    with pytest.raises(AgentError, match="no orders, no digits and no speech"):
        find_callers(tmp_path, None)
    assert RealCallers([Clip("a/b", tmp_path, "x")]).orders[0].order is None
