"""The `[agent]` settings become what every claim carries, or are refused by name."""

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.profile import build_profile, load_tokens
from agent.settings import AgentSettings, WorkerSettings
from agent.standin_tokens import StandInTokens
from agent.wire_fields import MAX_ROLE_BYTES, profile
from model.control import CallProfile
from model.errors import CheckpointError
from tests.fakes import FakeTokens


def build(**settings: object) -> CallProfile:
    return build_profile(AgentSettings.model_validate(settings), FakeTokens())


def test_unset_is_the_model_as_it_is() -> None:
    assert build() == CallProfile()


def test_words_become_tokens_and_the_role_is_read(tmp_path: Path) -> None:
    path = tmp_path / "role.txt"
    path.write_text("You sell coffee.\n")
    made = build(
        voice="anna",
        role_file=path,
        text_temperature="0.7",
        audio_top_k=0,
        text_bias="hello=-2.5, latte=3",
        banned="good,latte,good",
    )
    assert made == CallProfile(
        voice="anna",
        role="You sell coffee.",
        text_temperature=0.7,
        audio_top_k=0,
        text_bias=((12, -2.5), (13, 3.0)),
        banned=(10, 13),
    )
    assert profile().pack(made)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"banned": "東"}, "BANNED: this model has no piece for '東'"),
        ({"greeting": "東京 🤖"}, "GREETING holds nothing that this model can say"),
    ],
)
def test_letters_that_the_model_lacks_are_no_gap_between_words(
    settings: dict[str, object], said: str
) -> None:
    tokens = load_tokens(WorkerSettings())
    with pytest.raises(ConfigError, match=said):
        build_profile(AgentSettings.model_validate(settings), tokens)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"banned": "hello latte"}, r"BANNED: 'hello latte' is no single piece .*▁hello \+ ▁latte"),
        ({"text_bias": "nobody=1"}, "TEXT_BIAS: this model has no piece for 'nobody'"),
        ({"text_bias": "hello=1,hello=2"}, "twice"),
        ({"text_bias": ",".join(f"w{n}=1" for n in range(257))}, "takes 256 words"),
        ({"greeting": "nothing known"}, "GREETING"),
        ({"role_file": "/nowhere"}, "ROLE_FILE=/nowhere cannot be read"),
    ],
)
def test_what_the_model_cannot_take_names_its_setting(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(**settings)


@pytest.mark.parametrize(
    ("content", "said"), [(b"x" * (MAX_ROLE_BYTES + 1), "longer than"), (b"\xff", "not UTF-8")]
)
def test_a_role_file_out_of_bounds_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "role").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        build(role_file=tmp_path / "role")


def test_tokens_belong_to_the_engine(tmp_path: Path) -> None:
    assert isinstance(load_tokens(WorkerSettings(engine="standin")), StandInTokens)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_tokens(WorkerSettings(model_dir=tmp_path))
