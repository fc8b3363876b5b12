"""A caller's word: the same however the number is written, useless without the salt."""

import stat
from pathlib import Path

import pytest

from agent.caller_hash import SALT_FILE, caller_hash, load_salt
from agent.errors import ConfigError

SALT = bytes(32)


@pytest.mark.parametrize(
    "caller",
    [
        "sip:+15550100@192.0.2.7",
        '"Ada" <sip:+15550100@pbx;user=phone>',
        "tel:+1-555-0100",
        "+1 (555) 01 00",
        "sips:15550100@pbx:5061",
    ],
)
def test_every_way_of_writing_a_number_gives_one_word(caller: str) -> None:
    assert caller_hash(SALT, caller) == caller_hash(SALT, "15550100")


def test_others_differ_and_nobody_has_none() -> None:
    words = [caller_hash(SALT, one) for one in ("sip:+15550100@a", "sip:+15550101@a", "sip:ada@a")]
    assert len(set(words)) == 3 and all(word is not None and len(word) == 16 for word in words)
    assert caller_hash(SALT, "sip:Ada@a") == caller_hash(SALT, "ada")
    assert caller_hash(SALT, "") is None and caller_hash(SALT, "sip:@pbx") is None
    assert caller_hash(b"x" * 32, "15550100") != caller_hash(SALT, "15550100")


def test_the_salt_is_kept_and_private(tmp_path: Path) -> None:
    salt = load_salt(tmp_path / "state")
    path = tmp_path / "state" / SALT_FILE
    assert load_salt(tmp_path / "state") == salt and len(salt) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("spoilt")
    with pytest.raises(ConfigError, match="caller-salt cannot be used"):
        load_salt(tmp_path / "state")
