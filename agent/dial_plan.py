"""Trunks, personas and lines: whose call is answered as whom. Pure values, frozen; no I/O here.

    trunks:                           # telephony.trunks.Trunk
      carrier: {peers: [192.0.2.0/24]}
    personas:                         # OFFHOOK_AGENT__* by name; what is not said is as there
      barista: {voice: warm, greeting: "Good morning, what can I get you?"}
    lines:
      - {called: "+4930123456", trunk: carrier, persona: barista, max_calls: 10}
      - {called: "+4930*", transfer_target: "sip:desk@192.0.2.7"}

Without any line every call is answered by the settings alone, as without the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from agent.outbound import DEFAULT_TRUNK
from agent.settings import AgentSettings, CallSettings
from model.control import CallProfile
from telephony.sip_uri import called_user
from telephony.trunks import Part, Trunk, Trunks

_CALLED = re.compile(r"\+?[0-9]{1,32}\*?|[A-Za-z0-9_.!~'()&=+$,;?/-]{1,128}\*?|\*")
_NUMBER = re.compile(r"\+?[0-9]+")


class Line(Part):
    """What is called, and what answers there; unset, as the settings have it."""

    called: str  # a number or user; with * at its end: everything that begins so
    trunk: str | None = None  # only by this one
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")  # in logs and figures
    persona: str | None = None
    voice: str | None = None
    greeting: str | None = Field(default=None, max_length=2000)
    model: str | None = Field(default=None, min_length=1)  # only workers that have this model
    max_s: float | None = Field(default=None, gt=0)
    max_calls: int | None = Field(default=None, ge=1)
    transfer_target: str | None = None

    @model_validator(mode="after")
    def _callable(self) -> Self:
        if not _CALLED.fullmatch(self.called):
            raise ValueError(
                f'called={self.called!r} is neither a number nor a user; write "+4930123456", "+4930*", '
                '"order" or "*"'
            )
        if self.transfer_target is not None:
            CallSettings(transfer_target=self.transfer_target)
        return self

    @property
    def is_prefix(self) -> bool:
        """Whether more may follow what is called."""
        return self.called.endswith("*")

    @property
    def stem(self) -> str:
        """What is called, or how it begins."""
        return self.called.removesuffix("*")

    @property
    def key(self) -> str:
        """What no other line of the file has."""
        return f"{self.called} {self.trunk or ''}"

    @property
    def label(self) -> str:
        """A short name that holds no number, unless the operator gave none."""
        return self.name or (self.called if not _NUMBER.match(self.called) else "unnamed")

    def rank(self, user: str, trunk: str | None) -> tuple[int, int, int] | None:
        """How well it fits a call, the greater the better; None: not at all."""
        if self.trunk is not None and self.trunk != trunk:
            return None
        if not (user.startswith(self.stem) if self.is_prefix else user == self.stem):
            return None
        return len(self.stem), int(not self.is_prefix), int(self.trunk is not None)


class PlanTree(Part):
    """The whole file."""

    version: Literal[1] = 1
    trunks: Trunks = Field(default={})
    personas: dict[str, AgentSettings] = Field(default={})
    lines: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _connected(self) -> Self:
        if DEFAULT_TRUNK in self.trunks:  # the outbound rules' name for calls by no trunk
            raise ValueError(f"trunks has {DEFAULT_TRUNK!r}, which means no trunk; give it another name")
        seen: set[tuple[str, str | None]] = set()
        for number, line in enumerate(self.lines, start=1):
            where = f"lines, number {number} ({line.called}): "
            if line.trunk is not None and line.trunk not in self.trunks:
                raise ValueError(f"{where}there is no trunk {line.trunk!r}; known: {_listed(self.trunks)}")
            if line.persona is not None and line.persona not in self.personas:
                raise ValueError(
                    f"{where}there is no persona {line.persona!r}; known: {_listed(self.personas)}"
                )
            if (line.called, line.trunk) in seen:
                raise ValueError(f"{where}an earlier line has the same number and trunk; keep one")
            seen.add((line.called, line.trunk))
        return self


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How one call is answered; it stays the call's own, whatever the file says later."""

    line: str  # its label; "" without a dial plan
    key: str  # tells lines apart, whatever their labels; holds the number
    agent: AgentSettings
    profile: CallProfile
    limits: CallSettings
    model: str = ""  # "": any worker's
    max_calls: int | None = None  # at once on this line


@dataclass(frozen=True, slots=True)
class DialPlan:
    """Everything the file says, ready for calls; equal files make equal plans."""

    trunks: dict[str, Trunk]
    lines: tuple[tuple[Line, CallPlan], ...]
    fallback: CallPlan  # without any line

    @property
    def transfer_targets(self) -> set[str]:
        """Where its lines put callers who want a person."""
        plans = (self.fallback, *(plan for _, plan in self.lines))
        return {plan.limits.transfer_target for plan in plans if plan.limits.transfer_target is not None}

    def find(self, called: str, trunk: str | None) -> CallPlan | None:
        """The plan of the line that fits best; None if no line does. `called` is a URI."""
        if not self.lines:
            return self.fallback
        user = called_user(called)
        ranked = ((line.rank(user, trunk), plan) for line, plan in self.lines)
        fitting = [(rank, plan) for rank, plan in ranked if rank is not None]
        return max(fitting, key=lambda one: one[0])[1] if fitting else None


def _listed(names: dict[str, Trunk] | dict[str, AgentSettings] | Sequence[str]) -> str:
    return ", ".join(names) or "none"
