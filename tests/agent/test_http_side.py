"""The first start and later ones, as an operator sees them."""

from pathlib import Path

import pytest
import structlog

from agent.access_keys import EVERYTHING, write_private
from agent.errors import ConfigError
from agent.http_side import served_by, welcome
from agent.settings import HttpSettings, LogSettings, RecordingSettings, Settings


def test_the_first_start_shows_a_key_once_and_a_link_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for _ in range(2):
        access = served_by(Settings(state=tmp_path)).access
        welcome(Settings(state=tmp_path), 8080, access)
        shown.append(capsys.readouterr().out)
        code = shown[-1].partition("http://127.0.0.1:8080/#code=")[2].split()[0]
        assert access.codes.redeem(code) is not None
    key = shown[0].partition("shown this once: ")[2].split()[0]
    assert access.keys.find(key) is not None
    assert "API key" not in shown[1]


@pytest.mark.parametrize(
    ("bind_address", "host"),
    [("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]"), ("192.0.2.7", "192.0.2.7")],
)
def test_the_link_names_a_host_that_a_browser_here_can_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bind_address: str, host: str
) -> None:
    http = HttpSettings.model_validate({"bind_address": bind_address, "allowed_peers": "192.0.2.0/24"})
    settings = Settings(state=tmp_path, http=http)
    welcome(settings, 8080, served_by(settings).access)
    assert f"http://{host}:8080/#code=" in capsys.readouterr().out


def test_an_operator_who_gave_a_key_gets_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    http = HttpSettings.model_validate({"admin_key": "k" * 40})
    settings = Settings(state=tmp_path, http=http)
    access = served_by(settings).access
    welcome(settings, 8080, access)
    assert "API key" not in capsys.readouterr().out and access.keys.find("k" * 40) is not None
    assert not (tmp_path / "keys.json").exists()


def test_collected_logs_get_no_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state=tmp_path, log=LogSettings(format="json"))
    access = served_by(settings).access
    with structlog.testing.capture_logs() as logs:
        welcome(settings, 8080, access)
        access.keys.add("a", EVERYTHING)
        welcome(settings, 8080, access)
    assert capsys.readouterr().out == "" and len(access.codes) == 0
    assert [entry["event"] for entry in logs] == ["no_api_key"]


def test_recordings_are_served_where_there_are_any_and_the_salt_stays(tmp_path: Path) -> None:
    recording = RecordingSettings(folder=tmp_path / "calls")
    first, second = (served_by(Settings(state=tmp_path, recording=recording)) for _ in range(2))
    assert first.recordings is not None and first.recordings.folder == tmp_path / "calls"
    assert first.salt == second.salt and len(first.salt) == 32
    assert served_by(Settings(state=tmp_path)).recordings is None


def test_spoilt_keys_stop_the_start(tmp_path: Path) -> None:
    write_private(tmp_path / "keys.json", "{")
    with pytest.raises(ConfigError, match=r"keys\.json"):
        served_by(Settings(state=tmp_path))
