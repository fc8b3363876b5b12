"""One worker: a process that holds an engine and its slots, steps them every 80 ms, and serves gateways.

    python -m agent.worker --address unix:/tmp/w0.sock --slots 2 --engine standin
    python -m agent.worker --address tcp:0.0.0.0:7400 --secret-file /run/secrets/offhook --device cuda

The pool starts local workers so; on another machine an operator, systemd or Kubernetes does. It listens only
when the engine is loaded and warm: whoever can connect can claim. Without a number of slots it measures once
how many this machine holds (`agent.calibration`). SIGTERM drains: no new claims, live calls
go on for `--drain-timeout-s`. Two threads: the event loop owns sockets and slot table
(`agent.worker_server`), the engine's thread owns the engine (`agent.tick_loop`). Logs are JSON lines on
stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from agent import logs
from agent.calibration import (
    Calibration,
    CalibrationFile,
    Limits,
    Trial,
    cache_folder,
    calibrated,
    compiled_key,
    search,
)
from agent.compiling import StepCompiler
from agent.engines import WITHOUT_WEIGHTS, EngineChoice, EngineFactory
from agent.errors import ConfigError
from agent.local_worker import EXIT_CONFIG
from agent.tick_loop import Stepper
from agent.trace import TracedStepper
from agent.wire import FRAME_SAMPLES, PERIOD_S
from agent.worker_address import WorkerAddress
from agent.worker_server import WorkerIdentity, WorkerServer
from model.errors import ModelError

NUM_WARM_STEPS = 3
SWITCH_INTERVAL_S = 0.0005  # how long the event loop may keep the interpreter from the engine's thread
EXIT_ENGINE = 3
MAX_WORKER_SLOTS = 256
UNMEASURED_SLOTS = 2  # of an engine without a step to measure, where no number is given
NO, KEPT, YES = "no", "kept", "yes"  # what --compile may be
FALLBACK_SLOTS = 2  # where the measuring failed

log = structlog.get_logger("agent.worker")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker's settings, as its command line gives them."""

    address: WorkerAddress
    worker_id: str
    num_slots: int | None  # None: as many as are measured to fit
    choice: EngineChoice
    cpus: tuple[int, ...]
    phase_s: float
    drain_timeout_s: float
    secret: bytes
    ends_with_stdin: bool
    cache: Path
    is_measured_anew: bool
    compiling: str  # no; kept: use a package that is there; yes: also make one
    trace_folder: Path | None


@dataclass(frozen=True, slots=True)
class Built:
    """A loaded engine, cold yet, and what is known of its speed."""

    stepper: Stepper
    voices: tuple[str, ...]
    takes_role: bool
    step_p99_s: float  # 0: not measured


def build(config: WorkerConfig) -> Built:
    """Load the engine with its slots, after finding out how many, where none are configured.

    Raises ConfigError if not even one call fits, ModelError if the model does not load.
    """
    factory = EngineFactory(config.choice)
    num_slots, step_p99_s = config.num_slots, 0.0
    if config.choice.engine in WITHOUT_WEIGHTS:
        num_slots = num_slots or UNMEASURED_SLOTS
    elif (compiled := _measured_compiled(config, factory)) is not None:
        num_slots = num_slots or compiled.num_slots
        step_p99_s = compiled.p99_s if compiled.num_slots == num_slots else 0.0
    else:
        file = CalibrationFile(config.cache, factory.key())
        if num_slots is None or config.is_measured_anew:
            found = find_slots(config.choice, factory, file, is_forced=config.is_measured_anew)
            num_slots = num_slots or _fitting(found)
        kept = file.read()
        if kept is not None:
            _compare(num_slots, kept)
            step_p99_s = kept.p99_s if kept.num_slots == num_slots else 0.0
    if config.compiling != NO:
        factory.packages = config.cache  # only now: what is measured here is the plain step
    stepper = factory.build(num_slots)
    return Built(stepper, factory.voices(stepper), factory.takes_role(stepper), step_p99_s)


def _measured_compiled(config: WorkerConfig, factory: EngineFactory) -> Calibration | None:
    """What `offhook calibrate` measured with compiled steps, if they are used and it fits."""
    if config.compiling == NO or config.is_measured_anew:
        return None
    kept = CalibrationFile(config.cache, compiled_key(factory.key())).read()
    return kept if kept is not None and kept.num_slots else None


def find_slots(
    choice: EngineChoice, factory: EngineFactory, file: CalibrationFile, *, is_forced: bool = False
) -> Calibration | None:
    """What fits this machine, kept or measured; None if the measuring failed, which must not stop a start."""
    limits = Limits.of(choice.device, choice.num_threads, choice.share)

    def measure() -> Calibration:
        log.info("calibration_begins", max_slots=limits.max_slots, load=round(os.getloadavg()[0], 1))
        return search(factory.build, limits, memory=factory.memory, on_trial=_note_trial)

    try:
        return calibrated(file, measure, is_forced=is_forced)
    except ModelError:
        raise
    except Exception:
        log.exception("calibration_failed", num_slots=FALLBACK_SLOTS)
        return None


def _note_trial(trial: Trial) -> None:
    times = {"p99_ms": round(1e3 * trial.p99_s, 1), "cpu_ms": round(1e3 * trial.cpu_s, 1)}
    log.info("calibration_trial", num_slots=trial.num_slots, obstacle=trial.obstacle, **times)


def _fitting(found: Calibration | None) -> int:
    """The number of slots to have. Raises ConfigError if not even one fits."""
    if found is None:
        return FALLBACK_SLOTS
    if not found.num_slots:
        raise ConfigError(
            f"this machine is too slow for one call of this model: {found.trials[0].obstacle} in a tick of "
            f"{1e3 * PERIOD_S:.0f} ms; use a faster device (OFFHOOK_WORKER__DEVICE), more threads "
            "(OFFHOOK_WORKER__THREADS) or a smaller model, or try it nevertheless: OFFHOOK_WORKER__SLOTS=1"
        )
    return found.num_slots


def _compare(num_slots: int, kept: Calibration) -> None:
    if num_slots > kept.num_slots:
        log.warning(
            "slots_beyond_calibration",
            num_slots=num_slots,
            num_slots_measured=kept.num_slots,
            p99_ms=round(1e3 * kept.p99_s, 1),
            obstacle=next((t.obstacle for t in kept.trials if t.obstacle and t.num_slots <= num_slots), ""),
        )


def warm_up(stepper: Stepper) -> int:
    """Run the first, slow steps on every slot, and a moved call's start; the columns of a token row.

    What a start with a past needs is otherwise loaded onto a GPU while other calls wait for their tick.
    """
    silence = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
    everybody = np.ones(stepper.num_slots, np.bool_)
    for slot in range(stepper.num_slots):
        stepper.start(slot, seed=0)
    columns = [stepper.step(silence, everybody).tokens[0] for _ in range(NUM_WARM_STEPS)]
    stepper.stop(0)
    stepper.start(0, seed=0, history=np.stack(columns), caller_pcm=silence[0])
    for slot in range(stepper.num_slots):
        stepper.stop(slot)
    return len(columns[0])


async def serve(config: WorkerConfig) -> None:
    """Load, warm up, and serve until a signal, or the end of stdin where that was asked for."""
    built = build(config)
    num_columns = warm_up(built.stepper)
    _settle_collector()
    factory = EngineFactory(config.choice)
    about = built.voices, built.takes_role, built.step_p99_s
    identity = WorkerIdentity(config.worker_id, factory.name, num_columns, *about)
    stepper = _traced(built.stepper, config, factory)
    server = WorkerServer(stepper, identity, secret=config.secret, phase_s=config.phase_s, tidy=_collect)
    compiler = _compiler(built.stepper, config, factory, server)
    try:
        await _serve_until_told(server, config)
    finally:
        if (close := getattr(built.stepper, "close", None)) is not None:  # one that has processes of its own
            await asyncio.to_thread(close)
        if compiler is not None:
            await asyncio.to_thread(compiler.close)
        if isinstance(stepper, TracedStepper):  # an engine that broke leaves its calls behind, too
            await asyncio.to_thread(stepper.close)


async def _serve_until_told(server: WorkerServer, config: WorkerConfig) -> None:
    """Serve until a signal, or the end of stdin where that was asked for."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(config.address))
        draining: list[asyncio.Task[None]] = []

        def end() -> None:
            """First signal: drain. Second: stop."""
            if draining:
                server.stop()
            else:
                draining.append(group.create_task(server.drain(config.drain_timeout_s)))

        loop.add_signal_handler(signal.SIGTERM, end)
        loop.add_signal_handler(signal.SIGINT, end)
        if config.ends_with_stdin:
            _watch_stdin(server)
        await serving
        for task in draining:
            task.cancel()


def _compiler(
    stepper: Stepper, config: WorkerConfig, factory: EngineFactory, server: WorkerServer
) -> StepCompiler | None:
    """Have the step compiled, where it is not and may be."""
    if config.choice.engine in WITHOUT_WEIGHTS or config.choice.device != "cpu" or config.compiling == NO:
        return None
    is_compiled = bool(getattr(stepper, "is_compiled", False))
    log.info("step_chosen", is_compiled=is_compiled)
    if is_compiled or config.compiling != YES:
        return None
    compiler = StepCompiler(stepper, factory.folder, config.cache, server.call_between_ticks)
    compiler.start()
    return compiler


def _traced(stepper: Stepper, config: WorkerConfig, factory: EngineFactory) -> Stepper:
    """The engine, wrapped if calls are to be kept; only now, so that warming up is not."""
    if config.trace_folder is None:
        return stepper
    log.warning("calls_are_traced", folder=str(config.trace_folder))
    return TracedStepper(stepper, config.trace_folder, factory.key())


def _watch_stdin(server: WorkerServer) -> None:
    """Stop when whoever started us is gone: its end of our stdin closes with it, however it died."""
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            server.stop()

    loop.add_reader(stdin, read)


def _collect() -> None:
    """Free reference cycles; what was frozen is not looked at, so this takes 0.2 ms."""
    gc.collect()


def _settle_collector() -> None:
    """Take what the engine is made of out of the collector's sight, and collect only in the ticks' slack."""
    gc.collect()
    gc.freeze()
    gc.disable()


def parse_arguments(argv: list[str]) -> WorkerConfig:
    """Read the command line; ConfigError names what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m agent.worker", description="Hold a model for gateways.")
    parser.add_argument("--address", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--worker-id", default=f"worker-{os.getpid()}")
    parser.add_argument("--slots", default="auto", help="calls at once; auto: as many as are measured to fit")
    parser.add_argument("--engine", choices=("builtin", *WITHOUT_WEIGHTS), default="builtin")
    parser.add_argument(
        "--model-dir", type=Path, default=Path(__file__).resolve().parent.parent / "model" / "builtin"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of tensor work")
    parser.add_argument("--kv", choices=("same", "float8"), default="same", help="how keys are kept")
    parser.add_argument("--share", type=float, default=1.0, help="part of the device that is ours, 0 to 1")
    parser.add_argument("--cache", type=Path, help="folder where measured capacities are kept")
    parser.add_argument("--calibrate", action="store_true", help="measure again what fits this machine")
    parser.add_argument(
        "--compile", choices=(NO, KEPT, YES), default=_compiling(os.environ), help="steps, on a CPU"
    )
    parser.add_argument("--trace-folder", type=Path, help="keep each call's exact input here, for replay")
    parser.add_argument("--cpus", default="", help="run on these only, e.g. 0,1")
    parser.add_argument("--phase-ms", type=int, default=0, help="shift of the 80 ms grid")
    parser.add_argument("--drain-timeout-s", type=float, default=30.0)
    parser.add_argument("--secret-file", type=Path, help="holds the secret shared with the gateways")
    parser.add_argument("--ends-with-stdin", action="store_true", help="stop when stdin closes")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    args = parser.parse_args(argv)
    logs.configure("json", args.log_level)
    if not 0 < args.share <= 1:
        raise ConfigError(f"--share {args.share:g}: write a part of 1, e.g. 0.5")
    config = WorkerConfig(
        address=WorkerAddress.parse(args.address),
        worker_id=args.worker_id,
        num_slots=_parse_slots(args.slots),
        choice=EngineChoice(args.engine, args.model_dir, args.device, args.threads, args.share, args.kv),
        cpus=_parse_cpus(args.cpus),
        phase_s=args.phase_ms / 1000,
        drain_timeout_s=args.drain_timeout_s,
        secret=read_secret(args.secret_file) if args.secret_file else b"",
        ends_with_stdin=args.ends_with_stdin,
        cache=args.cache or cache_folder(os.environ),
        is_measured_anew=args.calibrate,
        compiling=args.compile,
        trace_folder=args.trace_folder,
    )
    config.address.check_secret(config.secret)  # before the model is loaded for nothing
    return config


def _compiling(environ: Mapping[str, str]) -> str:
    """The default, which is a gateway's too."""
    asked = environ.get("OFFHOOK_WORKER__COMPILE", YES)
    return asked if asked in (NO, KEPT) else YES


def _parse_slots(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKER_SLOTS:
        raise ConfigError(f"--slots {text}: a worker holds 1 to {MAX_WORKER_SLOTS} calls; or write auto")
    return int(text)


def _parse_cpus(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise ConfigError(f"--cpus {text!r}: write numbers with commas, e.g. 0,1") from None


def read_secret(path: Path) -> bytes:
    """The file's content without the line's end."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the secret file {path} cannot be read ({error.strerror})") from None


def main(argv: list[str] | None = None) -> int:
    """Run a worker; exit status 0 after a stop, 2 for a wrong setting or model, 3 for a broken engine."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        config = parse_arguments(sys.argv[1:] if argv is None else argv)
        structlog.contextvars.bind_contextvars(worker_id=config.worker_id)
        if config.cpus:
            os.sched_setaffinity(0, config.cpus)
        asyncio.run(serve(config))
    except (ConfigError, ModelError) as error:
        log.error("worker_misconfigured", reason=str(error))
        return EXIT_CONFIG
    except Exception as error:
        log.exception("worker_failed", reason=f"{type(error).__name__}: {error}")
        return EXIT_ENGINE
    log.info("worker_ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
