"""The sections' base: closed, frozen, commas."""

import pytest
from pydantic import ValidationError

from agent.section import Section, Words


class Trees(Section):
    """A section."""

    kinds: Words = ()


def test_lists_are_written_with_commas_or_as_lists() -> None:
    assert Trees(kinds="oak, ash,,elm").kinds == ("oak", "ash", "elm")  # type: ignore[arg-type]
    assert Trees(kinds=("oak, ash",)).kinds == ("oak, ash",)


def test_a_misspelt_name_and_a_late_change_are_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        Trees(kind="oak")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        Trees().kinds = ("oak",)
