"""Packages are told apart by what they depend on, and only the latest are kept."""

import os
from pathlib import Path

from model.package import NUM_KEPT, is_whole, key_digest, note_use, package_key, package_path, prune


def test_a_key_is_of_one_model_and_batch(tmp_path: Path) -> None:
    (tmp_path / "lm.safetensors").write_bytes(bytes(100))
    key = package_key(tmp_path, 2)
    assert package_path(tmp_path, key) == package_path(tmp_path, package_key(tmp_path, 2))
    others = [package_key(tmp_path, 3), package_key(tmp_path, 2, greedy=True)]
    (tmp_path / "lm.safetensors").write_bytes(bytes(99) + b"1")
    others.append(package_key(tmp_path, 2))
    assert len({key_digest(each) for each in (key, *others)}) == 4


def test_only_the_packages_used_last_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / f"step-{number}.pt2" for number in range(NUM_KEPT + 2)]
    for age, path in enumerate(paths):
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    note_use(paths[-1])
    assert set(prune(tmp_path)) == {paths[-2], paths[-3]}
    assert paths[-1].exists()
    assert not is_whole(paths[-1])
