"""`offhook keys`, as a person types it."""

from pathlib import Path

import pytest

from agent.__main__ import main
from agent.access_keys import KeyFile, Right
from agent.keys_command import state_folder
from agent.settings import Settings


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFHOOK_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_key_is_made_listed_and_revoked(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", "supervisor", "--rights", "calls:read,recordings:read"]) == 0
    text = capsys.readouterr().out.strip()
    key = KeyFile(state).find(text)
    assert key is not None and key.rights == {Right.CALLS_READ, Right.RECORDINGS_READ}
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert key.key_id in shown and "supervisor" in shown and text not in shown
    assert main(["keys", "revoke", key.key_id]) == 0
    assert KeyFile(state).find(text) is None


def test_what_cannot_be_is_one_line_and_a_code(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "revoke", "none"]) == 2
    assert main(["keys", "add", "x", "--rights", "all"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all(line.startswith("offhook: ") for line in told)


def test_the_folder_is_the_setting_or_the_systems(state: Path) -> None:
    assert state_folder(Settings(state=state)) == state
    assert state_folder(Settings()).name == "offhook"
