"""The models that the bench knows by name."""

import pytest

from model.bench_presets import full_size
from model.errors import ConfigError


def test_sizes_are_the_published_ones() -> None:
    assert full_size("moshiko").lm.dim == 4096 and full_size("builtin").lm.dim == 256
    personaplex = full_size("personaplex").lm
    assert (personaplex.dep_q, personaplex.agent_q) == (16, 8)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="moshiko"):
        full_size("gpt")
