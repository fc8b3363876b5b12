"""The dial plan's file: YAML read so that every error names the file, the line, the place and the remedy.

Words are YAML 1.2's: `off` and `no` are text, not false. Anchors may be used; a key may stand only once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.dial_plan import CallPlan, DialPlan, Line, PlanTree
from agent.duplex import Tokens
from agent.errors import ConfigError
from agent.profile import build_profile, check_announcement
from agent.settings import AgentSettings, CallSettings, Settings
from telephony.trunks import Caller, Credentials, Registration, SessionTimer, Trunk

MAX_FILE_BYTES = 1 << 20
MAX_NODES = 100_000  # aliases counted each time: a small file may not unfold into a huge one
MAX_DEPTH = 20
SETTING = "OFFHOOK_SIP__TRUNKS_FILE"

_NAMES = {
    name
    for part in (PlanTree, Trunk, Caller, Credentials, Registration, SessionTimer, Line, AgentSettings)
    for name in part.model_fields
}
_ADVICE = {
    "missing": "it is missing; add it",
    "string_type": "it must be text; put it in quotes",
    "dict_type": "it must be names with values below them, like `carrier: {peers: [192.0.2.0/24]}`",
    "model_type": "it must be names with values, like {user: order}",
    "tuple_type": "it must be a list; write [one, another]",
}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the library has no types
    """Plain words are null, true, false, decimal numbers, or text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|", ["~", "n", ""]),
    ("tag:yaml.org,2002:bool", r"true|false", ["t", "f"]),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("tag:yaml.org,2002:float", r"[-+]?[0-9]+\.[0-9]*(e[-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$", re.IGNORECASE), _first)


@dataclass
class _Unfolded:
    """A tree of plain values, and in which line of the file each stands."""

    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)
    num_nodes: int = 0

    def value(self, node: yaml.Node, place: tuple[str | int, ...]) -> Any:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES or len(place) > MAX_DEPTH:
            raise _Wrong(node, f"the file unfolds into more than {MAX_NODES} values; use fewer aliases")
        self.lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, (*place, number)) for number, one in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: tuple[str | int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, below in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Wrong(key, "a name must be plain text")
            if key.value in found:
                raise _Wrong(key, f"{key.value} stands here twice; keep one")
            found[key.value] = self.value(below, (*place, key.value))
            self.lines[*place, key.value] = key.start_mark.line + 1
        return found

    def line_of(self, place: tuple[str | int, ...]) -> int:
        """The line of the place, or of the nearest thing above it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class _Wrong(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int":
        return int(node.value)
    if kind == "float":
        return float(node.value)
    if kind == "str":
        return node.value
    raise _Wrong(node, f"the tag {node.tag} is not known here; leave it out")


def read_plan(path: Path, environ: Mapping[str, str]) -> PlanTree:
    """What the file says, checked by itself; secrets come from the files and variables that it names.

    Raises ConfigError with one line for each fault.
    """
    text = _text_of(path)
    unfolded = _Unfolded()
    try:
        node = yaml.compose(text, Loader=_Loader)
        tree = {} if node is None else unfolded.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: it is no YAML ({error.problem}); mend the line") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError(f"{path}: it is no YAML; write it in UTF-8, without control characters") from None
    except _Wrong as error:
        raise ConfigError(f"{path}, line {error.line}: {error}") from None
    try:
        return PlanTree.model_validate(tree, context={"environ": environ})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise ConfigError("\n".join(_told(path, unfolded, fault) for fault in faults)) from None


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read ({cause}); set {SETTING} to a readable YAML file") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_FILE_BYTES} bytes; split it over two gateways")
    return text


def _told(path: Path, unfolded: _Unfolded, fault: ErrorDetails) -> str:
    place = fault["loc"]
    dotted = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place).lstrip(".")
    message = _ADVICE.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(place[-1]), sorted(_NAMES), n=1, cutoff=0.5)
        message = "nothing here has this name" + (
            f"; did you mean {close[0]}?" if close else "; leave it out"
        )
    return f"{path}, line {unfolded.line_of(place)}{', ' if dotted else ''}{dotted}: {message}"


def resolve(tree: PlanTree, settings: Settings, tokens: Tokens, path: Path | None = None) -> DialPlan:
    """The plans of every line, with what the settings say where a line says nothing.

    Raises ConfigError when a line's persona, or the announcement, asks for what the model cannot do.
    """
    check_announcement(settings.recording, tokens)
    base = CallPlan("", "", settings.agent, build_profile(settings.agent, tokens), settings.call)
    lines = []
    for number, line in enumerate(tree.lines, start=1):
        try:
            lines.append((line, _planned(line, tree, base, tokens)))
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path or 'the dial plan'}, lines[{number - 1}]: {error}") from None
    return DialPlan(dict(tree.trunks), tuple(lines), base)


def _planned(line: Line, tree: PlanTree, base: CallPlan, tokens: Tokens) -> CallPlan:
    agent = merged(base.agent, tree.personas[line.persona]) if line.persona else base.agent
    own = {"voice": line.voice, "greeting": line.greeting}
    agent = agent.model_copy(update={name: value for name, value in own.items() if value is not None})
    asked = {"max_s": line.max_s, "transfer_target": line.transfer_target}
    limits = CallSettings.model_validate(
        base.limits.model_dump() | {name: value for name, value in asked.items() if value is not None}
    )
    profile = build_profile(agent, tokens)
    return CallPlan(line.label, line.key, agent, profile, limits, line.model or "", line.max_calls)


def merged(base: AgentSettings, persona: AgentSettings) -> AgentSettings:
    """The settings' agent with what a persona says of itself; a role in one place drops it in the other."""
    said = {name: getattr(persona, name) for name in persona.model_fields_set}
    if "role_file" in said:
        said.setdefault("role", "")
    elif said.get("role"):
        said["role_file"] = None
    return base.model_copy(update=said)
