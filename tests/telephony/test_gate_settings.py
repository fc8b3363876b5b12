from typing import Any

import pytest

from telephony.errors import SettingsError
from telephony.gate_settings import RANGES, GateSettings


def test_the_usual_values_are_the_defaults() -> None:
    settings = GateSettings()
    assert {name: getattr(settings, name) for name in RANGES} == {
        name: usual for name, (_, _, usual) in RANGES.items()
    }


@pytest.mark.parametrize("name", RANGES)
def test_a_value_outside_its_range_is_refused_with_the_usual_one(name: str) -> None:
    low, high, usual = RANGES[name]
    beyond: list[dict[str, Any]] = [{name: low - 1}, {name: high + 1}]
    for given in beyond:
        with pytest.raises(SettingsError, match=f"{name}=.* {usual} is usual"):
            GateSettings(**given)


def test_one_source_cannot_be_given_more_connections_than_there_are() -> None:
    with pytest.raises(SettingsError, match="lower it"):
        GateSettings(max_connections=10, max_connections_per_source=11)
