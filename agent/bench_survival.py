"""`offhook bench survival`: what a call of the built-in model loses when its worker is killed, or its Redis.

The same calls are placed with one worker and with two, and without a death: that tells what was forgotten
from what the model does not understand at any time. What must hold whatever the model understands decides
the exit code; its memory is held against the bar too, but does not. Calls are judged when all are over.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.bench_deaths import DEATHS, VOICE, Death, Taped, call_and_kill, call_without_redis
from agent.energy_gate import Pcm
from agent.errors import AgentError
from agent.evaluation.judge import Judge
from agent.evaluation.outcome import CallOutcome, judge_call, place_turns
from agent.evaluation.placed_call import write_channels
from agent.evaluation.scores import spread
from agent.evaluation.summary import Bar, Share, share, table
from agent.evaluation.survival import Survival, greets, survival_of, turns_between
from agent.machine import Machine, this_machine

ATTEMPTS = 3
RECORD_BAR_S = 5.0

console = Console()


@dataclass(frozen=True, slots=True)
class Killed:
    """One call of the first part."""

    death: str
    number: int
    is_kept: bool  # we hung up, not the line
    ready_after_s: float | None  # from the kill until another slot was primed
    num_late_ticks: int
    survival: Survival


@dataclass(frozen=True, slots=True)
class Outage:
    """The call in which Redis went away and came back."""

    is_kept: bool
    num_frames_dropped: int
    num_late_ticks: int
    answers: list[tuple[str, str, bool]]  # to what was asked meanwhile: question, answer, is it right
    newcomers_greeted: list[bool]  # of those who called meanwhile
    record_after_s: float | None  # from Redis's return until the call's record was there


# ---- judging ----


def _outcome(taped: Taped, number: int, judge: Judge) -> tuple[CallOutcome, Pcm]:
    left, right = taped.call.tape.channels()
    return judge_call(number, VOICE.name, place_turns(taped.caller.script.said, left), right, judge), right


def judge_killed(death: Death, number: int, taped: Taped, judge: Judge) -> Killed:
    """What became of a call whose worker died."""
    outcome, agent = _outcome(taped, number, judge)
    survival = survival_of(outcome, agent, taped.watch.died_s, judge)
    kept, after_s = taped.call.is_ended_by_us, taped.watch.after_s
    return Killed(death.name, number, kept, after_s, taped.num_late_ticks, survival)


def judge_outage(taped: Taped, judge: Judge) -> Outage:
    """What became of the call whose Redis went away."""
    outcome, _ = _outcome(taped, 0, judge)
    meanwhile = turns_between(outcome.turns, taped.watch.died_s, taped.watch.back_s)
    return Outage(
        is_kept=taped.call.is_ended_by_us,
        num_frames_dropped=taped.num_frames_dropped,
        num_late_ticks=taped.num_late_ticks,
        answers=[(turn.text, turn.heard, turn.is_right) for turn in meanwhile],
        newcomers_greeted=[
            call is not None and greets(call.tape.channels()[1], judge) for call in taped.watch.newcomers
        ],
        record_after_s=taped.watch.after_s,
    )


# ---- telling ----


def survival_bars(death: Death, calls: Sequence[Killed]) -> list[Bar]:
    """What must hold whatever the model understands."""
    # A greeting that the question interrupts is not heard as one: unasked speech is as good a sign of it.
    anew = share([asdict(c.survival) for c in calls], lambda row: row["num_greetings"] or row["unasked"])
    ready_s = [call.ready_after_s for call in calls]
    heard_s = [call.survival.heard_after_s for call in calls]
    bars = [_all(f"{death.name}: call kept", [call.is_kept for call in calls])]
    if death.bar_s is not None:
        bars += [
            _longest(f"{death.name}: kill to primed slot", ready_s, death.bar_s),
            _longest(f"{death.name}: kill to agent heard", heard_s, death.bar_s),
        ]
    return [*bars, Bar(f"{death.name}: greeted again", str(anew), "none", anew.right == 0)]


def memory_bars(death: Death, calls: Sequence[Killed]) -> list[Bar]:
    """What depends on the model too: reported, and held against the bar, but no reason to fail."""
    known = [asdict(call.survival) for call in calls if call.survival.is_understood]
    kept, right = share(known, lambda row: row["is_remembered"]), share(known, lambda row: row["is_right"])
    gaps = [row["answered_after_s"] for row in known if row["answered_after_s"] is not None]
    answered = f"{spread(gaps).p50:.2f} s of {len(gaps)}" if gaps else "never"
    return [
        Bar(f"{death.name}: order remembered", str(kept), "all", kept.right == kept.num > 0),
        Bar(f"{death.name}: answer right", str(right), "", None),
        Bar(f"{death.name}: question to answer", answered, "", None),
        Bar(f"{death.name}: late ticks", str(sum(call.num_late_ticks for call in calls)), "", None),
    ]


def outage_bars(outage: Outage) -> list[Bar]:
    """What must hold while Redis is away, and after."""
    answered = Share(sum(bool(heard) for _, heard, _ in outage.answers), len(outage.answers))
    right = Share(sum(is_right for *_, is_right in outage.answers), len(outage.answers))
    dropped = outage.num_frames_dropped
    return [
        _all("Redis away: call kept", [outage.is_kept]),
        Bar("Redis away: frames dropped", str(dropped), "0", dropped == 0),
        Bar("Redis away: turns answered", str(answered), "all", answered.right == answered.num > 0),
        _all("Redis away: new calls answered", outage.newcomers_greeted),
        _longest("Redis back: record there after", [outage.record_after_s], RECORD_BAR_S),
        Bar("Redis away: turns answered rightly", str(right), "", None),
        Bar("Redis away: late ticks", str(outage.num_late_ticks), "", None),
    ]


def _all(name: str, flags: Sequence[bool]) -> Bar:
    return Bar(name, str(Share(sum(flags), len(flags))), "all", bool(flags) and all(flags))


def _longest(name: str, times_s: Sequence[float | None], bar_s: float) -> Bar:
    known = [time_s for time_s in times_s if time_s is not None]
    missing = len(times_s) - len(known)
    figure = f"{min(known):.2f} to {max(known):.2f} s" if known else "never"
    figure += f", {missing} never" if known and missing else ""
    return Bar(name, figure, f"<= {bar_s:g} s", bool(known) and not missing and max(known) <= bar_s)


def _calls_table(calls: Sequence[Killed]) -> Table:
    shown = Table("death", "read back", "asked", "answer", "remembered", title="calls", title_justify="left")
    marks = {True: "yes", False: "[red]no[/]", None: "not judged"}
    for call in calls:
        one = call.survival
        shown.add_row(call.death, one.read_back, one.question, one.answer, marks[one.is_remembered])
    return shown


# ---- the command ----


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument("--calls", type=int, default=4, help="of each kind (default 4)")
    parser.add_argument("--folder", type=Path, help="keep the calls' sound here")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Call, kill, judge, print; 1 if a call, its time or its greeting was lost."""
    if args.calls < 1:
        raise AgentError("--calls counts from 1")
    machine = this_machine()  # its load before, not ours
    plan = [(death, number) for death in DEATHS for number in range(args.calls)]
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("calling", total=len(plan) + 1)
        tapes = []
        for death, number in plan:
            tapes.append(_whole(partial(call_and_kill, death, number)))
            progress.advance(bar)
        away = _whole(call_without_redis)
    if args.folder:
        _keep(args.folder, [*tapes, away])
    judge = Judge()
    calls = [judge_killed(*planned, taped, judge) for planned, taped in zip(plan, tapes, strict=True)]
    return report(calls, judge_outage(away, judge), machine, args.json)


def _whole(call: Callable[[], Taped]) -> Taped:
    """A call whose turns went out without holes; on a busy machine it takes several attempts."""
    for _ in range(ATTEMPTS):
        taped = call()
        try:
            place_turns(taped.caller.script.said, taped.call.tape.channels()[0])
        except AgentError as error:
            console.print(f"a call is void and placed again: {error}")
        else:
            return taped
    raise AgentError(f"{ATTEMPTS} calls in a row had holes; run this on a quieter machine")


def _keep(folder: Path, tapes: Sequence[Taped]) -> None:
    for number, taped in enumerate(tapes):
        write_channels(folder / f"survival-{number:02d}.flac", *taped.call.tape.channels())


def report(calls: Sequence[Killed], outage: Outage, machine: Machine, path: Path | None) -> int:
    """Print all figures, write them to `path` too; 1 if one fails that the model has no part in."""
    must = [bar for death in DEATHS for bar in survival_bars(death, _of(death, calls))] + outage_bars(outage)
    may = [bar for death in DEATHS for bar in memory_bars(death, _of(death, calls))]
    console.print(_calls_table(calls))
    console.print(table([*must, *may], "survival"))
    console.print(str(machine), highlight=False)
    if path:
        told = {"machine": asdict(machine), "calls": [asdict(call) for call in calls]}
        path.write_text(json.dumps({**told, "outage": asdict(outage)}, indent=2) + "\n")
    return 1 if any(bar.is_met is False for bar in must) else 0


def _of(death: Death, calls: Sequence[Killed]) -> list[Killed]:
    return [call for call in calls if call.death == death.name]
