"""The guides say what is so: their trunks' file is accepted, the settings that they name exist."""

import re
from pathlib import Path

import pytest

from agent.check import describe
from agent.dial_plan_file import read_plan, resolve
from agent.settings import Settings
from agent.standin_tokens import StandInTokens

ROOT = Path(__file__).parents[2]
GUIDES = ("README.md", "docs/trunks.md", "docs/threat_model.md", "deploy/README.md")
# Read before the settings are, or by the set-up.
ELSEWHERE = {
    "OFFHOOK_CONFIG",
    "OFFHOOK_CACHE",
    "OFFHOOK_STATE",
    "OFFHOOK_TORCH_INDEX",
}


def test_the_trunks_file_that_the_guide_shows_is_accepted(tmp_path: Path) -> None:
    guide = (ROOT / "docs/trunks.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert shown is not None
    secret, file = tmp_path / "carrier.secret", tmp_path / "trunks.yaml"
    secret.write_text("hush\n", encoding="utf-8")
    file.write_text(shown[1].replace("/etc/offhook/carrier.secret", str(secret)), encoding="utf-8")

    plan = resolve(read_plan(file, {"PBX_SECRET": "hush"}), Settings(), StandInTokens())

    desk, others = (plan.find(f"sip:{user}@us.example", "carrier") for user in ("+4930123456", "+49309"))
    assert desk is not None and others is not None and desk.agent.greeting != others.agent.greeting
    assert plan.find("sip:order@us.example", None) is not None
    assert plan.find("sip:+1555@us.example", "carrier") is None


def test_the_trunk_of_an_asterisk_is_accepted(tmp_path: Path) -> None:
    guide = (ROOT / "docs/trunks.md").read_text(encoding="utf-8")
    shown = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[1]
    file = tmp_path / "trunks.yaml"
    file.write_text(shown, encoding="utf-8")
    plan = read_plan(file, {"PBX_SECRET": "hush", "OUR_SECRET": "hush"})
    assert plan.trunks["pbx"].srtp_keying == ("dtls",) and plan.trunks["pbx"].callers[0].user == "asterisk"


@pytest.mark.parametrize("guide", GUIDES)
def test_every_setting_that_a_guide_names_exists(guide: str) -> None:
    known = {line.partition("=")[0] for line in describe(Settings(), {})}
    text = (ROOT / guide).read_text(encoding="utf-8")

    named = {name.rstrip("_") for name in re.findall(r"OFFHOOK_[A-Z0-9_]+", text)} - ELSEWHERE

    sections = {name.rpartition("__")[0] for name in known}
    assert named <= known | sections
