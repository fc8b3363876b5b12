"""A leg's files: what is due, in parts, whole again elsewhere; damage and missing stages are told."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from model.errors import CheckpointError
from model.training import packing
from model.training.legs import StageState
from model.training.options import Machine, Plan
from model.training.packing import LIST_FILE, pack, unpack
from model.training.pipeline import Pipeline

CONTENTS = {
    "bank/bank-1-0000.npz": 3000,
    "bank/bank-1-0001.npz": 3000,
    "agent/lines-0000.npz": 800,
    "agent/announced-0000.npz": 900,
    "codec.pt": 5000,
    "tokens/tokens-1-0000.npz": 700,
    "bank/bank-1-0002.partial": 100,
}


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A folder in the midst of the codec's training, and parts of 4 kB."""
    monkeypatch.setattr(packing, "PART_BYTES", 4_000)
    monkeypatch.setattr(tarfile, "RECORDSIZE", 512)
    _let_be_due(monkeypatch, "codec", 0.5)
    rng = np.random.default_rng(0)
    for name, length in CONTENTS.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(length))
    return Pipeline(tmp_path / "work", Machine(), print, plan=Plan())


def _let_be_due(monkeypatch: pytest.MonkeyPatch, stage: str, done: float) -> None:
    states = [StageState("bank", 1, 1, "shards"), StageState(stage, done, 35, "minutes")]
    monkeypatch.setattr(packing, "stage_states", lambda _: states)


def test_what_is_due_is_whole_again_elsewhere(stages: Pipeline, tmp_path: Path) -> None:
    paths = pack(stages, tmp_path / "parts", 8)
    assert paths[-1].name == LIST_FILE and 3 < len(paths) <= 9
    assert all(path.stat().st_size <= 4_000 for path in paths[:-1])
    unpack(tmp_path / "parts", tmp_path / "there")
    found = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*.*")}
    assert found == {"config.json", *CONTENTS} - {"tokens/tokens-1-0000.npz", "bank/bank-1-0002.partial"}
    for name in found:
        assert (tmp_path / "there" / name).read_bytes() == (stages.folder / name).read_bytes()


def test_what_does_not_fit_comes_with_another_leg(
    stages: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for what a leg cannot do without, and for one of two shards."""
    needed = [CONTENTS[name] for name in ("codec.pt", "agent/lines-0000.npz", "bank/bank-1-0000.npz")]
    needed.append((stages.folder / "config.json").stat().st_size)
    room = sum(needed) + len(needed) * packing.TAR_OVERHEAD_BYTES + tarfile.RECORDSIZE
    monkeypatch.setattr(packing, "PART_BYTES", 1 + room // 5)
    chosen = []
    for done in (0.5, 0.5 + 1 / 60):
        _let_be_due(monkeypatch, "codec", done)
        pack(stages, tmp_path / "parts", 5)
        unpack(tmp_path / "parts", tmp_path / f"there-{done}")
        chosen.append({path.name for path in (tmp_path / f"there-{done}" / "bank").glob("*")})
    assert [len(some) for some in chosen] == [1, 1] and chosen[0] != chosen[1]


def test_what_a_leg_cannot_do_without_must_fit(stages: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"needs 0 MB: give --pack-parts more files"):
        pack(stages, tmp_path / "parts", 1)


def test_the_bank_is_not_made_elsewhere(
    stages: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_be_due(monkeypatch, "export", 0)
    with pytest.raises(CheckpointError, match=r"stage `export` is due: there is nothing to pack"):
        pack(stages, tmp_path / "parts", 4)


def test_a_damaged_part_is_not_unpacked(stages: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no leg.json"):
        unpack(tmp_path, tmp_path / "there")
    damaged = pack(stages, tmp_path / "parts", 8)[1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=rf"{damaged.name} is missing or damaged: copy it again"):
        unpack(tmp_path / "parts", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_nothing_is_unpacked_outside_the_folder(
    stages: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    with tarfile.open(tmp_path / "parts" / "leg.tar.00", "w") as tar:
        tar.add(stages.folder / "codec.pt", "../codec.pt")
    part = tmp_path / "parts" / "leg.tar.00"
    told = {"stage": "codec", "parts": {part.name: packing._digest(part)}}
    (tmp_path / "parts" / LIST_FILE).write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"'../codec.pt' does not belong"):
        unpack(tmp_path / "parts", tmp_path / "there")


def test_a_leg_for_tones_brings_plain_speech_along(
    stages: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of synthesisers and of people: without it the listener takes them for tones."""
    _let_be_due(monkeypatch, "tone", 0.0)
    plain = {"bank/bank-1-0000.npz", "bank-recorded-without0/bank-cafe-0-0000.npz"}
    more = {"bank-tones/bank-1-0000.npz", "bank-tones-validation/bank-9-0000.npz"}
    for name in (*plain, *more, "bank-recorded-without0/bank-cafe-1-0000.npz"):
        (stages.folder / name).parent.mkdir(exist_ok=True)
        (stages.folder / name).write_bytes(bytes(300))
    pack(stages, tmp_path / "parts", 8)
    unpack(tmp_path / "parts", tmp_path / "there")
    found = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*.*")}
    assert found == {"config.json", "codec.pt", *plain, *more}
