"""The dashboard against Grafana's own schema of the version that compose starts, as its SDK carries it."""

import copy
import enum
import importlib
import importlib.metadata
import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.test_manifests import DASHBOARD, DEPLOY, load_yaml

SDK = "grafana_foundation_sdk"
# Written out by the SDK, whatever a dashboard says.
ADDED = {"annotations", "fiscalYearStartMonth", "graphTooltip", "repeatDirection", "transparent"} | {
    "auto", "auto_count", "auto_min", "includeAll", "multi", "skipUrlSync", "filterValues", "selectionMode",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def kinds() -> None:
    """Without them the SDK takes any options of a panel as they are."""
    importlib.import_module(f"{SDK}.cog.plugins").register_default_plugins()


@pytest.fixture
def board() -> dict[str, Any]:
    return dict(json.loads(DASHBOARD.read_text()))


def faults(board: dict[str, Any]) -> list[str]:
    """What the schema does not know, misses, or has another type or word for."""
    read = importlib.import_module(f"{SDK}.models.dashboard").Dashboard.from_json(board)
    encoder = importlib.import_module(f"{SDK}.cog.encoder").JSONEncoder
    return [*differences(board, json.loads(encoder().encode(read)), ""), *mistyped(read, type(read), "")]


def differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """What was lost, changed or filled in on the way through the SDK."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        yield from (f"{where}.{key} is unknown" for key in ours.keys() - theirs.keys())
        yield from (f"{where}.{key} is missing" for key in theirs.keys() - ours.keys() - ADDED)
        for key in ours.keys() & theirs.keys():
            yield from differences(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif ours != theirs:
        yield f"{where}: {ours!r} became {theirs!r}"


def mistyped(value: Any, kind: Any, where: str) -> Iterator[str]:
    """Values that are not of the annotated kind."""
    if fits(value, kind):
        if type(value).__module__.startswith(SDK) and not isinstance(value, enum.Enum):
            hints = typing.get_type_hints(type(value))
            for name, inner in hints.items():
                yield from mistyped(getattr(value, name), inner, f"{where}.{name}")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from mistyped(item, type(item), f"{where}[{index}]")
    else:
        yield f"{where}: {value!r} is no {kind}"


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated kind; an enumeration's word counts as its member."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, parts[1]) for item in value.values())
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return value in [member.value for member in kind] or isinstance(value, kind)
    return kind in (Any, object) or plain(value, kind)


def plain(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else value is None


def test_the_schema_is_of_the_grafana_that_compose_starts() -> None:
    image = load_yaml(DEPLOY / "compose.yaml")["services"]["grafana"]["image"]
    version = importlib.metadata.version(SDK).rpartition("!")[2]
    assert image == f"grafana/grafana:{version}"


def test_grafana_s_schema_finds_nothing_to_mend(board: dict[str, Any]) -> None:
    assert faults(board) == []


PLANTED: dict[str, tuple[str, Any, str]] = {
    "a field that is none": ("timeseries/options/legends", {}, r"options\.legends is unknown"),
    "a field that must be there": ("timeseries/options/legend/showLegend", None, "showLegend is missing"),
    "a word that is none": ("timeseries/options/tooltip/mode", "many", r"tooltip\.mode: 'many'"),
    "a number for a switch": ("stat/options/wideLayout", 1, r"wide_layout: 1 is no <class 'bool'>"),
    "a word of another kind of panel": ("heatmap/options/color/mode", "palette", r"color\.mode: 'palette'"),
    "a query as another source asks": ("stat/targets/0/expression", "up", "expression is unknown"),
    "a width in words": ("timeseries/gridPos/w", "half", r"grid_pos\.w: 'half'"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_fault_would_be_seen(board: dict[str, Any], what: str) -> None:
    path, value, expected = PLANTED[what]
    kind, *keys = path.split("/")
    panel = next(one for one in board["panels"] if one["type"] == kind)
    wrong = {**board, "panels": [copy.deepcopy(panel)]}
    place: Any = wrong["panels"][0]
    for key in keys[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    found = faults(wrong)
    assert found and all(re.search(expected, one) for one in found), found
