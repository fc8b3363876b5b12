"""Keys: what is kept of them, who may read it, and that a change counts at once."""

import json
import os
import stat
from pathlib import Path

import pytest

from agent.access_keys import (
    EVERYTHING,
    KeyFile,
    Right,
    default_state_folder,
    digest_of,
    parse_rights,
    write_private,
)
from agent.errors import ConfigError


def test_a_key_opens_what_it_was_made_for_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "state")
    text = keys.add("supervisor", frozenset({Right.CALLS_READ}))
    key = keys.find(text)
    assert key is not None and key.name == "supervisor"
    assert key.rights == {Right.CALLS_READ}
    assert text not in keys.path.read_text() and digest_of(text) in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in keys.path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.upper(), lambda t: ""])
def test_what_is_nearly_a_key_is_none(tmp_path: Path, change: object) -> None:
    keys = KeyFile(tmp_path)
    text = keys.add("a", EVERYTHING)
    assert callable(change) and keys.find(change(text)) is None
    assert keys.find(text[:17] + "A" * 43) is None  # another secret with the same id


def test_a_change_by_another_process_counts_at_once(tmp_path: Path) -> None:
    serving, other = KeyFile(tmp_path), KeyFile(tmp_path)
    assert serving.find("offhook_00000000_" + "A" * 43) is None
    text = other.add("late", EVERYTHING)
    found = serving.find(text)
    assert found is not None and serving.by_id(found.key_id) == found
    assert other.revoke(found.key_id).name == "late"
    assert serving.find(text) is None and serving.by_id(found.key_id) is None
    with pytest.raises(ConfigError, match="offhook keys list"):
        other.revoke(found.key_id)


def test_the_operators_own_key_has_every_right_and_is_in_no_file(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path, "s" * 40)
    key = keys.find("s" * 40)
    assert key is not None and key.rights == EVERYTHING
    assert keys.by_id(key.key_id) == key and [one.name for one in keys.keys] == ["OFFHOOK_HTTP__ADMIN_KEY"]
    assert not keys.path.exists() and keys.find("") is None


def test_admin_is_every_right() -> None:
    assert parse_rights(["calls:read", " recordings:read"]) == {Right.CALLS_READ, Right.RECORDINGS_READ}
    with pytest.raises(ConfigError, match="choose from calls:read"):
        parse_rights(["calls:write"])
    with pytest.raises(ConfigError, match="opens nothing"):
        parse_rights([""])


@pytest.mark.parametrize("name", ["", "x" * 61, "two\nlines"])
def test_a_name_is_one_short_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        KeyFile(tmp_path).add(name, EVERYTHING)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"keys": [{"id": "a"}]}', '{"keys": [{"id": "a", "rights": ["fly"]}]}']
)
def test_a_spoilt_file_is_told_and_opens_nothing(tmp_path: Path, text: str) -> None:
    write_private(tmp_path / "keys.json", text)
    with pytest.raises(ConfigError, match=r"keys\.json cannot be used"):
        _ = KeyFile(tmp_path).keys


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    keys.add("a", EVERYTHING)
    keys.path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"others may read it.*chmod 600"):
        _ = KeyFile(tmp_path).keys
    assert json.loads(keys.path.read_text())["keys"]


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="OFFHOOK_STATE"):
        KeyFile(tmp_path / "file" / "below").add("a", EVERYTHING)


def test_state_lies_where_the_system_says() -> None:
    assert default_state_folder({"XDG_STATE_HOME": "/x"}) == Path("/x/offhook")
    assert default_state_folder(dict(os.environ)).name == "offhook"
