"""`offhook eval --quick` and `--offline`: scripted callers over real SIP, or against the model alone.

Calls are recorded first and judged afterwards, so that judging takes no time from the model. A run can be
broken off and taken up again: what its folder holds is not called again.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import Progress, track

from agent.bench_gateway import GatewayProcess
from agent.energy_gate import Pcm
from agent.engines import CASCADE, STANDIN, model_folder
from agent.errors import AgentError, AudioFileError
from agent.evaluation.judge import Judge
from agent.evaluation.outcome import PlacedTurn, judge_call, place_turns
from agent.evaluation.placed_call import PlacedCall, calling_end, place_call, write_channels
from agent.evaluation.script import Script, ScriptedCaller, make_script
from agent.evaluation.summary import Json, Summary, bars, summarise, table
from agent.evaluation.virtual_engine import with_engine
from agent.settings import CascadeSettings, Settings, WorkerSettings
from telephony.errors import CallRefused
from telephony.sip_uri import checked_uri

if TYPE_CHECKING:
    from telephony.sip import SipGateway

DEFAULT_CALLS = 20
CONCURRENT = 2
LIMIT_S = 180.0
ATTEMPTS = 5
BUSY = 503
DEFAULT_CODEC = "PCMU"
OFFLINE = "offline"  # in the place of a codec's name
MISSES = "offhook_worker_deadline_misses_total"

console = Console()


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Call, judge, print the table; 0 if every bar is met."""
    if args.calls < 1 or args.concurrent < 1:
        raise AgentError("--calls and --concurrent count from 1")
    if args.offline and (args.uri or args.codec != DEFAULT_CODEC):
        raise AgentError("--offline calls nobody: leave --uri and --codec out, or take --quick")
    folder = args.folder or Path("eval-offline" if args.offline else "eval-quick")
    codec = OFFLINE if args.offline else args.codec
    worker = with_engine(settings.worker, args.engine)
    model = args.uri or engine_mark(worker, settings.cascade)
    plan = Plan(folder, args.seed, args.calls, args.concurrent, codec, model)
    plan.prepare()
    misses: int | None = None
    if args.offline:
        _call_offline(plan, worker)
    else:
        misses = _call_all(plan, args.uri, worker.engine)
    summary = judge_all(plan)
    lines = bars(summary, misses, plan.live_gaps_s(), is_offline=args.offline)
    note = "VOID: the worker missed deadlines, so this machine was too busy to measure. " if misses else ""
    title = f"{note}{summary.calls} calls, {summary.turns} turns, {plan.codec}, {plan.folder}"
    console.print(table(lines, title))
    return 0 if all(line.is_met is not False for line in lines) else 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What one folder holds: its calls are numbered from 0, drawn from the seed."""

    folder: Path
    seed: int
    calls: int
    concurrent: int
    codec: str
    model: str = ""  # its digest, or whom we call

    def prepare(self) -> None:
        """Make the folder, or check that it is of the same run."""
        mark = self.folder / "run.json"
        wanted = {"seed": self.seed, "codec": self.codec, "model": self.model}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                mark.write_text(json.dumps({**wanted, "misses": 0}) + "\n", encoding="utf-8")
        except OSError as error:
            raise AudioFileError(f"cannot write to {self.folder}: {error}; choose another --folder") from None
        found = json.loads(mark.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in wanted} != wanted:
            raise AgentError(f"{self.folder} holds another run ({found}); choose another --folder")

    def begin_sitting(self) -> int | None:
        """The misses so far; from now on unknown, and so they stay if this sitting is broken off."""
        mark = self.folder / "run.json"
        found = json.loads(mark.read_text(encoding="utf-8"))
        mark.write_text(json.dumps({**found, "misses": None}) + "\n", encoding="utf-8")
        known: int | None = found["misses"]
        return known

    def end_sitting(self, known: int | None, misses: int) -> int | None:
        """The misses of the whole run, once a sitting has come to its end."""
        mark = self.folder / "run.json"
        found = json.loads(mark.read_text(encoding="utf-8"))
        mark.write_text(json.dumps({**found, "misses": known}) + "\n", encoding="utf-8")
        return self.add_misses(misses)

    def add_misses(self, misses: int | None) -> int | None:
        """Deadline misses of the whole run, over all the sittings it took; None once one did not know."""
        mark = self.folder / "run.json"
        found = json.loads(mark.read_text(encoding="utf-8"))
        before = found["misses"]
        found["misses"] = None if misses is None or before is None else before + misses
        mark.write_text(json.dumps(found) + "\n", encoding="utf-8")
        total: int | None = found["misses"]
        return total

    def sound(self, number: int) -> Path:
        """A call's two channels."""
        return self.folder / f"call-{number:02d}.flac"

    def truth(self, number: int) -> Path:
        """What its caller said and when; written last, so that it means: done."""
        return self.folder / f"call-{number:02d}.truth.json"

    def result(self, number: int) -> Path:
        """Its outcome, judged."""
        return self.folder / f"call-{number:02d}.json"

    def keep(self, script: Script, caller: Pcm, agent: Pcm, placed: Sequence[PlacedTurn]) -> None:
        """Write a call that was held: both channels, float32 [T] each, and what its caller said when."""
        write_channels(self.sound(script.number), caller, agent)
        turns = [one.as_json() for one in placed]
        truth = {"voice": script.voice.name, "turns": turns}
        self.truth(script.number).write_text(json.dumps(truth) + "\n", encoding="utf-8")

    @property
    def line_folder(self) -> Path:
        """Where the line that is called keeps its own recordings and what it measured."""
        return self.folder / "line"

    def live_gaps_s(self) -> list[float]:
        """The response gaps that the line measured in the calls that are judged.

        None of them if it held others as well, void ones or of a sitting that was broken off: a recording
        does not say whose call it is.
        """
        sidecars = sorted(self.line_folder.glob("*.json"))
        if len(sidecars) != self.calls - len(self.missing()):
            return []
        told = [json.loads(path.read_text(encoding="utf-8")) for path in sidecars]
        return [gap_s for sidecar in told for gap_s in sidecar["turns"]["response_gaps_s"]]

    def missing(self) -> list[int]:
        """Calls that are still to be placed."""
        return [number for number in range(self.calls) if not self.truth(number).exists()]


def _call_all(plan: Plan, uri: str | None, engine: str) -> int | None:
    """Place every missing call; the run's deadline misses so far, None if unknown."""
    missing = plan.missing()
    if not missing:
        return plan.add_misses(0)
    scripts = {number: make_script(number, plan.seed) for number in missing}  # before, not during the calls
    if uri is not None:
        asyncio.run(_place_all(plan, checked_uri(uri), scripts))
        return plan.add_misses(None)
    recordings = str(plan.line_folder.resolve())
    more = {"OFFHOOK_RECORDING__FOLDER": recordings, "OFFHOOK_WORKER__ENGINE": engine}
    with own_line(plan.concurrent, **more) as line:
        before = line.metric(MISSES)
        known = plan.begin_sitting()
        asyncio.run(_place_all(plan, line.uri, scripts))
        return plan.end_sitting(known, round(line.metric(MISSES) - before))


@contextmanager
def own_line(slots: int, **more: str) -> Iterator[GatewayProcess]:
    """`offhook serve` with the operator's model and so many slots, on ports of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("OFFHOOK_WORKER__", "OFFHOOK_CASCADE__"))
    }
    with GatewayProcess({**kept, "OFFHOOK_WORKER__SLOTS": str(slots), **more}) as line:
        yield line


async def _place_all(plan: Plan, uri: str, scripts: dict[int, Script]) -> None:
    waiting = list(scripts.values())
    with Progress(console=console) as progress:
        bar = progress.add_task("calling", total=len(waiting))

        async def one_after_another() -> None:
            while waiting:
                await _place_one(plan, uri, waiting.pop(0), phone)
                progress.advance(bar)

        async with calling_end((plan.codec,)) as phone, asyncio.TaskGroup() as group:
            for _ in range(plan.concurrent):
                group.create_task(one_after_another())


def model_digest(folder: Path) -> str:
    """Sixteen hexadecimal digits that change with a model's files; "" for a folder without any."""
    digest = hashlib.sha256()
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".json", ".model"))
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16] if paths else ""


def engine_mark(worker: WorkerSettings, cascade: CascadeSettings) -> str:
    """Changes with whatever makes an engine's calls other ones; keys aside."""
    if worker.engine != CASCADE:
        return worker.engine if worker.engine == STANDIN else model_digest(model_folder(worker.model_dir))
    told = cascade.model_dump_json(exclude={"llm_key", "stt_key", "tts_key"})
    return f"{CASCADE}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _call_offline(plan: Plan, worker: WorkerSettings) -> None:
    """Hold every missing call without a telephone; there is no deadline to miss."""
    from agent.evaluation.offline import Answerer, OfflineCall, call_offline  # loads torch: not for `--help`
    from agent.evaluation.virtual_engine import build_engine

    missing = plan.missing()
    if not missing:
        return
    if worker.engine == STANDIN:
        raise AgentError(f"--offline needs an engine that has words: builtin or {CASCADE}")
    engine = cast(Answerer, build_engine(worker, plan.concurrent))
    with Progress(console=console) as progress:
        bar = progress.add_task("calling", total=len(missing))

        def keep(call: OfflineCall) -> None:
            left, right = call.channels()
            plan.keep(call.script, left, right, place_turns(call.caller.said, left))
            progress.advance(bar)

        call_offline(engine, [make_script(number, plan.seed) for number in missing], LIMIT_S, keep)


async def _place_one(plan: Plan, uri: str, script: Script, phone: SipGateway) -> None:
    """One call, its sound and truth on disk. A call whose turns had holes is left for the next sitting."""
    caller, call = await _call(phone, uri, script)
    left, right = call.tape.channels()
    try:
        placed = await asyncio.to_thread(place_turns, caller.said, left)
    except AgentError as error:
        console.print(f"call {script.number} is void: {error}")
        return
    await asyncio.to_thread(plan.keep, script, left, right, placed)


async def _call(phone: SipGateway, uri: str, script: Script) -> tuple[ScriptedCaller, PlacedCall]:
    for attempt in range(ATTEMPTS):
        caller = ScriptedCaller(script.steps)
        try:
            return caller, await place_call(phone, uri, caller, LIMIT_S)
        except CallRefused as error:  # the slot of the call before may still be on its way back
            if error.status != BUSY or attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(error.retry_after_s or 1)
    raise AssertionError(ATTEMPTS)


def judge_all(plan: Plan) -> Summary:
    """Judge the calls that have no result yet, and sum up all of the plan's that were placed."""
    results: list[Json] = []
    judge: Judge | None = None
    placed = [number for number in range(plan.calls) if plan.truth(number).exists()]
    for number in track(placed, "judging", console=console):
        path = plan.result(number)
        if not path.exists():
            judge = judge or Judge()
            truth = json.loads(plan.truth(number).read_text(encoding="utf-8"))
            sound, _rate_hz = soundfile.read(plan.sound(number), dtype="float32")
            turns = [PlacedTurn.from_json(row) for row in truth["turns"]]
            outcome = judge_call(number, truth["voice"], turns, np.ascontiguousarray(sound[:, 1]), judge)
            path.write_text(json.dumps(outcome.as_json(), indent=1) + "\n", encoding="utf-8")
        results.append(json.loads(path.read_text(encoding="utf-8")))
    return summarise(results)
