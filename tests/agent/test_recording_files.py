"""The files of a recording, by their names."""

from pathlib import Path

import pytest

from agent.recording_files import files_of, read_sidecar, remove, sidecar_path, stem_of, write_sidecar
from agent.sealed import Keyring, SealKey

STEM = "20260102T030405Z-1a2b3c4d"
KEY = SealKey(b"k" * 32)


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        (f"{STEM}.flac", True),
        (f"{STEM}.wav", True),
        (f"{STEM}.json", True),
        (f"{STEM}.json.part", True),
        (f"{STEM}.sealed", True),
        (f"{STEM}.json.sealed", True),
        (f"{STEM}.txt", False),
        (f"{STEM}", False),
        ("notes.json", False),
        ("20260102T030405Z-.wav", False),
    ],
)
def test_a_file_is_ours_by_its_whole_name(name: str, is_ours: bool) -> None:
    assert stem_of(name) == (STEM if is_ours else "")


def test_a_recording_goes_whole_and_alone(tmp_path: Path) -> None:
    for name in (f"{STEM}.flac", f"{STEM}.json", f"{STEM}.txt", "20260102T030405Z-ffff.flac"):
        (tmp_path / name).touch()
    (tmp_path / f"{STEM}.wav").symlink_to(tmp_path / f"{STEM}.txt")
    assert {path.suffix for path in files_of(tmp_path, STEM)} == {".flac", ".json"}
    assert remove(tmp_path, STEM) == 2
    assert len(list(tmp_path.iterdir())) == 3
    assert remove(tmp_path, STEM) == 0


def test_words_lie_beside_the_sound_sealed_as_it_is(tmp_path: Path) -> None:
    plain, sealed = tmp_path / f"{STEM}.wav", tmp_path / f"{STEM}.sealed"
    write_sidecar(plain, {"words": ["grüße"]}, None)
    write_sidecar(sealed, {"words": ["grüße"]}, KEY)
    assert (sidecar_path(plain).name, sidecar_path(sealed).name) == (f"{STEM}.json", f"{STEM}.json.sealed")
    assert read_sidecar(sidecar_path(plain), None) == {"audio": f"{STEM}.wav", "words": ["grüße"]}
    assert read_sidecar(sidecar_path(sealed), Keyring([KEY])) == {"audio": sealed.name, "words": ["grüße"]}
    assert "grüße".encode() not in sidecar_path(sealed).read_bytes()
    for keys in (None, Keyring([SealKey(b"o" * 32)])):
        assert read_sidecar(sidecar_path(sealed), keys) is None
    assert read_sidecar(tmp_path / "none.json", None) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{STEM}.json", f"{STEM}.json.sealed"]
