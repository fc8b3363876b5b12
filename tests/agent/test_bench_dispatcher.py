"""What the bench's dispatcher tells when it is not there; tests/deploy/test_kamailio.py runs it."""

from pathlib import Path

import pytest

from agent.bench_dispatcher import CONFIG, Dispatcher, flags
from agent.errors import AgentError


def test_what_is_shipped_is_what_runs(tmp_path: Path) -> None:
    words = flags(5099, tmp_path / "gateways", tmp_path)
    assert CONFIG.is_file() and words[:2] == ["-f", str(CONFIG)]
    assert f'GATEWAYS="{tmp_path}/gateways"' in words and "LISTEN_PORT=5099" in words


def test_a_missing_program_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(AgentError, match="install kamailio"):
        Dispatcher([5060])
