"""Does a model speak worse as a call grows old? Scripted calls, one after another, on slots never restarted.

For the model each slot is one call of `--minutes`; for its callers it is many, each with a voice and a
script of its own. They never say goodbye, and the model may not hang up. Every turn is judged as in
`offhook eval --offline` and filed under the age that the slot had then, so that its first minutes and its
last can be compared; the scripts begin anew about every five minutes, so both hear the same ones. What has
been judged is written after every script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.energy_gate import Segment
from agent.evaluation.judge import Judge
from agent.evaluation.outcome import judge_call, place_turns
from agent.evaluation.placed_call import FRAME_S
from agent.evaluation.scores import Spread, spread
from agent.evaluation.script import Script, make_script
from agent.evaluation.segments import speech_segments
from agent.evaluation.summary import Json, Share, share
from agent.machine import this_machine
from agent.settings import WorkerSettings
from model.control import CallProfile
from model.order_line import Intent
from telephony.endpoint import FRAME_SAMPLES

if TYPE_CHECKING:
    from agent.evaluation.offline import OfflineCall
    from model.engine import Engine

LIMIT_S = 180.0  # of one script
SCRIPTS_PER_SLOT = 4  # then they begin anew: five minutes
YOUNG_MIN = (0.0, 5.0)
OLD_MIN = 5.0  # the last minutes


@dataclass(slots=True)
class HeldScript:
    """One script on a slot that began it at the age of `start_s`."""

    slot: int
    start_s: float
    call: OfflineCall


def without_goodbye(script: Script) -> Script:
    """A caller who never ends the call."""
    steps = (step for step in script.steps if not _is_goodbye(step.step.request))
    return replace(script, steps=tuple(steps))


def _is_goodbye(request: Any) -> bool:
    return request is not None and request.intent is Intent.GOODBYE


def hold(
    engine: Engine,
    scripts: Iterator[Script],
    num_steps: int,
    on_done: Callable[[HeldScript], None],
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Hold scripts on all slots for so many steps; each is handed over when its caller has done.

    What is still going on at the end is handed over as it stands.
    """
    from agent.evaluation.call_loop import take_frame
    from agent.evaluation.offline import offline_call

    hangup = engine.tokenizer.hangup
    profile = CallProfile(banned=(hangup,) if hangup >= 0 else ())
    for slot in range(engine.num_slots):
        engine.start(slot, seed=slot, profile=profile)
    active = np.ones(engine.num_slots, bool)
    held = [HeldScript(slot, 0.0, offline_call(next(scripts), LIMIT_S)) for slot in range(engine.num_slots)]
    for step in range(num_steps):
        pcm = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
        for slot in range(engine.num_slots):
            frame = held[slot].call.say()
            if frame is None:
                on_done(held[slot])
                held[slot] = HeldScript(slot, step * FRAME_S, offline_call(next(scripts), LIMIT_S))
                frame = held[slot].call.say()
            assert frame is not None, "a script is over before it began"
            pcm[slot] = frame
        out = engine.step(pcm, active)
        for slot in range(engine.num_slots):
            take_frame(engine, engine.tokenizer, slot, held[slot].call, out)
        on_step()
    for last in held:
        on_done(last)


def judged(held: HeldScript, judge: Judge) -> Json:
    """What became of it; times from the script's start, `start_s` in the slot's life."""
    script = held.call.script
    caller, agent = held.call.channels()
    placed = place_turns(held.call.caller.said, caller)
    outcome = judge_call(script.number, script.voice.name, placed, agent, judge)
    return {
        "slot": held.slot,
        "start_s": round(held.start_s, 3),
        "talk": [[round(one.start_s, 3), round(one.end_s, 3)] for one in speech_segments(agent)],
        **outcome.as_json(),
    }


@dataclass(frozen=True, slots=True)
class AgeWindow:
    """Figures of the turns that ended while their slot was of this age."""

    start_min: float
    end_min: float
    turns: int
    gaps: Spread
    answered: Share  # of the turns with words: an answer within 5 s
    early: Share
    right: Share  # of the judged
    talk_share: float  # of the time, the agent speaks; NaN if no script reaches into the window


def window(scripts: Sequence[Json], start_min: float, end_min: float) -> AgeWindow:
    """Sum up what `judged` gave for slots between two ages."""
    span = Segment(60 * start_min, 60 * end_min)
    rows = [
        row
        for script in scripts
        for row in script["turns"]
        if row["intent"] != "silence" and span.start_s <= script["start_s"] + row["end_s"] < span.end_s
    ]
    talk_s = sum(_shared_s(span, script["start_s"], script["talk"]) for script in scripts)
    held_s = sum(_shared_s(span, script["start_s"], [[0.0, script["seconds"]]]) for script in scripts)
    return AgeWindow(
        start_min=start_min,
        end_min=end_min,
        turns=len(rows),
        gaps=spread([row["gap_s"] for row in rows if row["gap_s"] is not None]),
        answered=share(rows, lambda row: not row["is_miss"]),
        early=share(rows, lambda row: row["early_starts"]),
        right=share([row for row in rows if row["is_judged"]], lambda row: row["is_right"]),
        talk_share=talk_s / held_s if held_s else float("nan"),
    )


def _shared_s(span: Segment, from_s: float, parts: Iterable[Sequence[float]]) -> float:
    """For how long parts, counted from `from_s`, lie in the span."""
    return sum(
        max(0.0, min(span.end_s, from_s + end_s) - max(span.start_s, from_s + start_s))
        for start_s, end_s in parts
    )


def run(settings: WorkerSettings, minutes: float, slots: int, seed: int, path: Path) -> int:
    """Hold, judge, print; the exit code is 0: the figures have no bar."""
    import torch

    from model.engine import Engine

    torch.set_num_threads(settings.threads)
    engine = Engine.load(settings.model_dir, slots, device=settings.device)
    judge, scripts, machine = Judge(), list[Json](), this_machine()
    num_steps = round(60 * minutes / FRAME_S)

    def keep(held: HeldScript) -> None:
        scripts.append(judged(held, judge))
        told = {"machine": asdict(machine), "minutes": minutes, "slots": slots, "seed": seed}
        written = path.with_suffix(".part")
        written.write_text(json.dumps({**told, "scripts": scripts}, indent=1) + "\n")
        written.replace(path)

    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{slots} slots for {minutes:g} min", total=num_steps)
        numbers = iter(range(10**9))
        drawn = (without_goodbye(make_script(number, seed)) for number in numbers)
        hold(engine, drawn, num_steps, keep, lambda: progress.advance(bar))
    out = Console()
    out.print(_table(scripts, minutes))
    out.print(f"{machine}, judged scripts in {path}", highlight=False)
    return 0


def _table(scripts: Sequence[Json], minutes: float) -> Table:
    spans = [YOUNG_MIN, (max(0.0, minutes - OLD_MIN), minutes)]
    windows = [window(scripts, *span) for span in spans]
    table = Table("", *(f"minutes {one.start_min:g} to {one.end_min:g}" for one in windows))
    table.title = f"{len(scripts)} scripts on slots that were never restarted"
    table.add_row("turns", *(str(one.turns) for one in windows))
    table.add_row(
        "response gap p50 [95 %]",
        *(f"{_ms(one.gaps.p50)} [{_ms(one.gaps.low)}, {_ms(one.gaps.high)}]" for one in windows),
    )
    table.add_row("answered within 5 s", *(str(one.answered) for one in windows))
    table.add_row("early starts", *(str(one.early) for one in windows))
    table.add_row("right, of the judged", *(str(one.right) for one in windows))
    table.add_row("the agent speaks, of the time", *(f"{one.talk_share:.1%}" for one in windows))
    return table


def _ms(value_s: float) -> str:
    return "none" if value_s != value_s else f"{value_s * 1000:.0f} ms"
