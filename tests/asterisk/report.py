"""What came of each scenario, as a table and as JSON. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Verdict:
    """One scenario's: right if no second is wrong and nothing else is."""

    name: str
    seconds: list[bool] = field(default_factory=list)  # of sound, in all directions and calls
    facts: dict[str, str | int | float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether it passes. A scenario that heard nothing at all has shown nothing."""
        return not self.faults and bool(self.seconds) and all(self.seconds)

    def hear(self, what: str, seconds: Sequence[bool], at_least: int) -> None:
        """Take in the seconds of one direction; there must be so many."""
        self.seconds.extend(seconds)
        wrong = [number for number, is_right in enumerate(seconds) if not is_right]
        if wrong:
            listed = ", ".join(map(str, wrong[:10])) + ("..." if len(wrong) > 10 else "")
            self.faults.append(f"{what}: {len(wrong)} of {len(seconds)} seconds wrong ({listed})")
        if len(seconds) < at_least:
            self.faults.append(f"{what}: {len(seconds)} of {at_least} seconds heard")

    def check(self, is_so: bool, fault: str) -> None:
        """Note a fault unless it is so."""
        if not is_so:
            self.faults.append(fault)


def table(verdicts: Iterable[Verdict]) -> str:
    """A line for each scenario."""
    rows = [("scenario", "result", "seconds", "took", "remarks")]
    for verdict in verdicts:
        facts = [f"{name} {value}" for name, value in verdict.facts.items()]
        right = f"{sum(verdict.seconds)} of {len(verdict.seconds)}"
        result = "ok" if verdict.is_right else "FAILED"
        remarks = "; ".join([*verdict.faults, *facts])
        rows.append((verdict.name, result, right, f"{verdict.took_s:.0f} s", remarks))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_json(asterisk: str, verdicts: Sequence[Verdict]) -> str:
    """The same for programs, with the version of Asterisk."""
    scenarios = [
        {
            "name": verdict.name,
            "is_right": verdict.is_right,
            "seconds": len(verdict.seconds),
            "seconds_right": sum(verdict.seconds),
            "took_s": round(verdict.took_s, 1),
            "facts": verdict.facts,
            "faults": verdict.faults,
        }
        for verdict in verdicts
    ]
    is_right = bool(verdicts) and all(verdict.is_right for verdict in verdicts)
    return json.dumps({"asterisk": asterisk, "is_right": is_right, "scenarios": scenarios})
