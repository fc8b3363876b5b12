"""The file: what it may say, and that each fault is told with file, line, place and remedy."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dial_plan import PlanTree
from agent.dial_plan_file import merged, read_plan, resolve
from agent.errors import ConfigError
from agent.settings import AgentSettings, CallSettings, RecordingSettings, Settings
from agent.standin_tokens import StandInTokens
from tests.fakes import FakeTokens

GOOD = """\
version: 1
trunks:
  carrier: &carrier
    peers: [192.0.2.0/24]
    servers: [sip1.example.net, "sip2.example.net:5080"]
    user: "1000"
    credentials: {user: "1000", password: {env: CARRIER_PASSWORD}}
    registration: {expires_s: 120}
    srtp: off
    headers: [X-Account]
    max_calls: 30
personas:
  barista: {voice: warm, greeting: "Good morning."}
lines:
  - {called: "+4930123456", trunk: carrier, persona: barista, name: shop, max_calls: 10, max_s: 300}
  - called: "+4930*"
    voice: calm
    transfer_target: sip:desk@192.0.2.7
"""
ENVIRON = {"CARRIER_PASSWORD": "hush"}


def write(folder: Path, text: str) -> Path:
    file = folder / "trunks.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_becomes_plans_with_what_the_settings_say_besides(tmp_path: Path) -> None:
    base = Settings(agent=AgentSettings(voice="plain", role="You sell coffee."), call=CallSettings(max_s=900))
    tree = read_plan(write(tmp_path, GOOD), ENVIRON)
    plan = resolve(tree, base, StandInTokens())
    assert plan.trunks["carrier"].srtp == "off", "a word, not false"
    shop = plan.find("sip:+4930123456@192.0.2.1", "carrier")
    assert shop is not None
    assert (shop.line, shop.max_calls, shop.limits.max_s) == ("shop", 10, 300)
    assert (shop.profile.voice, shop.profile.role) == ("warm", "You sell coffee.")
    assert shop.agent.greeting == "Good morning."
    other = plan.find("sip:+49301@192.0.2.1", "carrier")
    assert other is not None and (other.profile.voice, other.limits.max_s) == ("calm", 900)
    assert other.limits.transfer_target == "sip:desk@192.0.2.7"
    assert plan == resolve(read_plan(tmp_path / "trunks.yaml", ENVIRON), base, StandInTokens())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trunks:\n  a: {peers: [192.0.2.7/24]}\n", "line 2, trunks.a.peers.0.: .*host bits.*write 192"),
        ("trunks:\n  a:\n    peer: []\n", "line 3, trunks.a.peer: nothing here .*; did you mean peers"),
        ("trunks:\n  a: {peers: 192.0.2.0/24}\n", "line 2, trunks.a.peers: it must be a list"),
        ("lines:\n  - {called: +4930123}\n", "line 2, lines.0..called: it must be text; put it in quotes"),
        ("lines:\n  - {called: '1'}\n  - {voice: x}\n", "line 3, lines.1..called: it is missing; add it"),
        ("a: 1\na: 2\n", "line 2: a stands here twice; keep one"),
        ("a: [1\n", "line 2: it is no YAML .*; mend the line"),
        ("a: !!python/object:os.system x\n", "line 1: the tag .* is not known"),
        ("a: \x00", "it is no YAML; write it in UTF-8"),
        ("[1]: 2\n", "line 1: a name must be plain text"),
        ("- 1\n", "line 1: it must be names with values"),
        ("version: 2\n", "line 1, version: Input should be 1"),
        ("a: &a [1, 1]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 20)}]\n"
         for a, b in zip("abcdefg", "bcdefgh", strict=True)), "unfolds into more than"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_line_place_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"trunks.yaml.*{words}"):
        read_plan(write(tmp_path, text), {})


def test_every_fault_is_told_at_once_and_no_secret_with_them(tmp_path: Path) -> None:
    text = GOOD.replace("srtp: off", "srtp: maybe").replace("max_calls: 30", "max_calls: 0")
    text = text.replace("{env: CARRIER_PASSWORD}", "my-secret-word")
    with pytest.raises(ConfigError) as error:
        read_plan(write(tmp_path, text), ENVIRON)
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and "my-secret-word" not in str(error.value)
    assert any(
        "line 9, trunks.carrier.srtp: Input should be 'off', 'optional' or 'required'" in one for one in lines
    )


def test_a_file_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read .*OFFHOOK_SIP__TRUNKS_FILE"):
        read_plan(tmp_path / "none.yaml", {})
    file = tmp_path / "trunks.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_plan(file, {})
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="longer than"):
        read_plan(file, {})
    file.write_bytes(b"")
    assert read_plan(file, {}) == PlanTree()


def test_a_persona_that_the_model_cannot_be_is_told_with_its_line() -> None:
    tree = PlanTree.model_validate({"lines": [{"called": "a"}, {"called": "b", "greeting": " "}]})
    with pytest.raises(ConfigError, match=r"lines\[1\]: .*holds nothing that this model can say"):
        resolve(tree, Settings(), StandInTokens())


def test_an_announcement_that_the_model_cannot_say_is_told_since_no_call_would_be_recorded() -> None:
    recording = RecordingSettings(announcement="hello latte")
    assert resolve(PlanTree(), Settings(recording=recording), FakeTokens()).lines == ()
    recording = RecordingSettings(announcement="nothing known")
    with pytest.raises(ConfigError, match="ANNOUNCEMENT holds nothing that this model can say"):
        resolve(PlanTree(), Settings(recording=recording), FakeTokens())


def test_a_role_in_one_place_drops_it_in_the_other(tmp_path: Path) -> None:
    file, base = tmp_path / "role", AgentSettings(role="in words")
    changed = merged(base, AgentSettings(role_file=file))
    assert (changed.role, changed.role_file) == ("", file)
    back = merged(changed, AgentSettings(role="again"))
    assert (back.role, back.role_file) == ("again", None)
    assert merged(base, AgentSettings(voice="warm")).role == "in words"


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet="ab:[]{}-&*!|>'\"\n #,", max_size=60).map(str.encode))
)
def test_any_bytes_are_a_plan_or_a_told_fault(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(raw)
    try:
        read_plan(file, {})
    except ConfigError as error:
        assert "any.yaml" in str(error)
