"""The one reader of the environment: settings from variables and one file.

Two sources: variables `OFFHOOK_*`, nested by `__` (`OFFHOOK_SIP__PORT=5080`), and one TOML file named by
`OFFHOOK_CONFIG` (`[sip]` then `port = 5080`); a variable wins over the file. An unknown name in either is an
error, because a misspelt setting silently does nothing. Lists are written with commas in a variable.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from agent.errors import ConfigError
from agent.settings import Settings

PREFIX = "OFFHOOK_"
NESTING = "__"
CONFIG_VARIABLE = "OFFHOOK_CONFIG"
# Read by `make setup` before this program exists, or by the tests of a machine: ours by name, but no setting.
OUTSIDE_VARIABLES = frozenset({"OFFHOOK_TORCH_INDEX", "OFFHOOK_PJPROJECT_TARBALL"})


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the variables in `environ` (pass `os.environ`) and the file that one of them names.

    An empty variable counts as unset, as compose files write it.

    Raises ConfigError naming the variable or key, the cause and the remedy.
    """
    names = dict(setting_names())
    variables = {key.upper(): value for key, value in environ.items() if key.upper().startswith(PREFIX)}
    _refuse_unknown_variables(variables, names)
    path = variables.get(CONFIG_VARIABLE)
    tree = _read_file(Path(path), names) if path else {}
    for variable, key in names.items():
        if variables.get(variable):
            _put(tree, key.split("."), variables[variable])
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def setting_names() -> Iterator[tuple[str, str]]:
    """Every setting as (variable, dotted key): (`OFFHOOK_SIP__PORT`, `sip.port`)."""
    for path in _leaves(Settings, ()):
        yield PREFIX + NESTING.join(path).upper(), ".".join(path)


def _leaves(section: type, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, kind in _fields(section):
        if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
            yield from _leaves(kind, (*above, name))
        else:
            yield (*above, name)


def _fields(section: type) -> list[tuple[str, object]]:
    hints = typing.get_type_hints(section)
    if issubclass(section, BaseModel):
        return [(name, hints[name]) for name in section.model_fields]
    assert dataclasses.is_dataclass(section), section
    return [(field.name, hints[field.name]) for field in dataclasses.fields(section)]


def _put(tree: dict[str, object], path: list[str], value: str) -> None:
    """Set one leaf in the tree, making the tables above it; what the file had there is replaced."""
    for name in path[:-1]:
        below = tree.get(name)
        tree[name] = tree = below if isinstance(below, dict) else {}
    tree[path[-1]] = value


def _refuse_unknown_variables(variables: Mapping[str, str], names: Mapping[str, str]) -> None:
    allowed = {CONFIG_VARIABLE, *OUTSIDE_VARIABLES, *names}
    for variable in sorted(variables):
        if variable not in allowed:
            raise ConfigError(f"{variable} is not a setting{_nearest(variable, allowed)}")


def _read_file(path: Path, names: Mapping[str, str]) -> dict[str, object]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_VARIABLE}={path} cannot be read ({error}); name a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    keys = set(names.values())
    for key in _file_keys(tree, "", keys):
        if key not in keys:
            raise ConfigError(f"{path}: {key} is not a setting{_nearest(key, keys)}")
    return tree


def _file_keys(tree: Mapping[str, object], above: str, leaves: set[str]) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and f"{above}{key}" not in leaves:
            yield from _file_keys(value, f"{above}{key}.", leaves)
        else:
            yield f"{above}{key}"


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _explain(error: ValidationError) -> str:
    """One line per wrong value, by the variable's name; values of secrets are never in it."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        variable = PREFIX + NESTING.join(str(part) for part in fault["loc"] if isinstance(part, str)).upper()
        lines.append(f"{variable.rstrip('_')}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
