"""A learning curve in miniature: points in order of their numbers, the held-out fold never learnt from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import RecordingError
from model.order_line import Intent
from model.requests import Request
from model.training import curve, pipeline
from model.training.agent_store import LINES, build_sentences
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn, save_shard
from model.training.codec_stage import CodecDials, CodecTraining
from model.training.curve import CURVE_FILE, CURVE_PICTURE, Curve, read_counts
from model.training.folds import Selection, fold_of
from model.training.legs import Leg, LegOver
from model.training.options import Machine
from model.training.pipeline import Pipeline
from model.training.recording_folder import SOURCES
from model.voices_phones import TimedPhone, TimedWord
from tests.model import tiny

FOLD = 2


def _turn(number: int, clip: str = "") -> Turn:
    pcm = 0.1 * tiny.noise(24_000, seed=number).numpy()
    words, phones = [TimedWord("ah", 0.1, 0.9)], [TimedPhone("ah", 0.0, 1.0)]
    return Turn(Request(Intent.OTHER, "ah"), pcm.astype(np.float32), words, phones, clip=clip)


def _store(folder: Path, names: list[str]) -> None:
    """A corpus as the stage `recordings` leaves it."""
    folder.mkdir(parents=True)
    save_shard(
        [Stem("reader", [_turn(n, name) for n, name in enumerate(names)])], folder / "recordings-ahs-0000.npz"
    )
    clips = {name: ["reader", fold_of(name), True] for name in names}
    account = {"layout": "sentences", "clips": clips, "made_of": [], "left_out": {}, "speech_s": 1.0}
    (folder / "recordings-ahs-0000.json").write_text(json.dumps(account))
    (folder / SOURCES).write_text("made in a test")


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    config = tiny.model_config(1024)
    monkeypatch.setattr(pipeline, "builtin_config", lambda size: config)
    monkeypatch.setattr(curve, "NUM_ASKED_CLIPS", 4)
    work = tmp_path / "work"
    run = Pipeline(work, Machine(), print)
    names = [f"clip{n}" for n in range(20)]
    _store(work / "recordings" / "ahs", names)
    (work / "bank").mkdir()
    save_shard([Stem("made", [_turn(50), _turn(51)])], work / "bank" / "bank-1-0000.npz")

    def speak(texts: object) -> list[AgentSentence]:
        turn = _turn(9)
        return [AgentSentence("ah", turn.pcm, turn.words, turn.phones)]

    list(build_sentences(work / "agent", LINES, ["ah"], speak))
    training = CodecTraining(config.codec, CodecDials(), work)
    for branch in (training.semantic, training.acoustic):
        branch.seed(torch.randn(200, config.codec.seanet.dimension))
    training.save()
    corpus = tmp_path / "ahs"
    corpus.mkdir()
    return run


def test_a_curve_has_a_point_for_each_number(stages: Pipeline, tmp_path: Path) -> None:
    points = Curve(stages, [tmp_path / "ahs"], FOLD, 0.002).measure([0, 3])
    assert [point.num_recordings for point in points] == [0, 3]
    assert all(0 <= point.phone_accuracy <= 1 and point.steps for point in points)
    told = json.loads((stages.folder / "curve" / CURVE_FILE).read_text())
    assert [row["recordings"] for row in told["points"]] == [0, 3] and told["fold"] == FOLD
    assert (stages.folder / "curve" / CURVE_PICTURE).read_bytes()[1:4] == b"PNG"
    again = Curve(stages, [tmp_path / "ahs"], FOLD, 0.002).measure([0, 3])
    assert [replace(point, phone_accuracy=0) for point in again] == [
        replace(point, phone_accuracy=0) for point in points
    ], "a point is trained once"


def test_what_is_asked_is_what_was_left_out() -> None:
    folds = {f"clip{n}": fold_of(f"clip{n}") for n in range(50)}
    asked = curve._LeftOut(FOLD).choose(folds)
    learnt = Selection(FOLD, 30).choose(folds)
    assert asked and learnt and not asked & learnt
    assert {folds[clip] for clip in asked} == {FOLD}


def test_a_point_that_a_leg_breaks_off_is_not_asked(stages: Pipeline, tmp_path: Path) -> None:
    stages.leg = Leg(0)
    with pytest.raises(LegOver):
        Curve(stages, [tmp_path / "ahs"], FOLD, 1.0).measure([0])
    assert not (stages.folder / "curve" / CURVE_FILE).exists()


def test_a_curve_is_about_recordings(stages: Pipeline) -> None:
    with pytest.raises(RecordingError, match=r"--curve needs --recordings"):
        Curve(stages, [], FOLD, 1.0)
    assert read_counts("100,0,50") == [0, 50, 100]
    for text in ("a,b", "-1", ""):
        with pytest.raises(RecordingError, match=r"is no list of numbers"):
            read_counts(text)
