"""One worker: a process that holds an engine and its slots, steps them every 80 ms, and serves gateways.

    python -m agent.worker --address unix:/tmp/w0.sock --slots 2 --engine standin python -m agent.worker
    --address tcp:0.0.0.0:7400 --secret-file /run/secrets/offhook --slots 16 --device cuda

The pool starts local workers so; on another machine an operator, systemd or Kubernetes does. It listens only
when the engine is loaded and warm: whoever can connect can claim. SIGTERM drains: no new claims, live calls
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from agent import logs
from agent.errors import ConfigError
from agent.local_worker import EXIT_CONFIG
from agent.standin import StandIn
from agent.tick_loop import Stepper
from agent.wire import FRAME_SAMPLES
from agent.worker_address import WorkerAddress
from agent.worker_server import WorkerIdentity, WorkerServer
from model.errors import ModelError

NUM_WARM_STEPS = 3
SWITCH_INTERVAL_S = 0.0005  # how long the event loop may keep the interpreter from the engine's thread
EXIT_ENGINE = 3


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker's settings, as its command line gives them."""

    address: WorkerAddress
    worker_id: str
    num_slots: int
    engine: str
    model_dir: Path
    device: str
    num_threads: int
    cpus: tuple[int, ...]
    phase_s: float
    drain_timeout_s: float
    secret: bytes
    ends_with_stdin: bool


def build_stepper(config: WorkerConfig) -> Stepper:
    """Load the engine; it is cold yet."""
    if config.engine == "standin":
        return StandIn(config.num_slots)
    os.environ.setdefault("OMP_NUM_THREADS", str(config.num_threads))  # read when torch is loaded
    import torch  # not before we know that this worker needs it: it takes seconds

    torch.set_num_threads(config.num_threads)
    from model.engine import Engine

    return Engine.load(config.model_dir, config.num_slots, device=config.device)


def warm_up(stepper: Stepper) -> int:
    """Run the first, slow steps on every slot; the number of columns of a token row."""
    silence = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
    everybody = np.ones(stepper.num_slots, np.bool_)
    for slot in range(stepper.num_slots):
        stepper.start(slot, seed=0)
    for _ in range(NUM_WARM_STEPS):
        num_columns = stepper.step(silence, everybody).tokens.shape[1]
    for slot in range(stepper.num_slots):
        stepper.stop(slot)
    return int(num_columns)


async def serve(config: WorkerConfig) -> None:
    """Load, warm up, and serve until a signal, or the end of stdin where that was asked for."""
    loop = asyncio.get_running_loop()
    stepper = build_stepper(config)
    num_columns = warm_up(stepper)
    _settle_collector()
    model = config.engine if config.engine == "standin" else config.model_dir.name
    identity = WorkerIdentity(config.worker_id, model, num_columns)
    server = WorkerServer(stepper, identity, secret=config.secret, phase_s=config.phase_s, tidy=_collect)
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
    parser.add_argument("--slots", type=int, default=2, help="calls at once")
    parser.add_argument("--engine", choices=("builtin", "standin"), default="builtin")
    parser.add_argument(
        "--model-dir", type=Path, default=Path(__file__).resolve().parent.parent / "model" / "builtin"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of tensor work")
    parser.add_argument("--cpus", default="", help="run on these only, e.g. 0,1")
    parser.add_argument("--phase-ms", type=int, default=0, help="shift of the 80 ms grid")
    parser.add_argument("--drain-timeout-s", type=float, default=30.0)
    parser.add_argument("--secret-file", type=Path, help="holds the secret shared with the gateways")
    parser.add_argument("--ends-with-stdin", action="store_true", help="stop when stdin closes")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    args = parser.parse_args(argv)
    logs.configure("json", args.log_level)
    if not 1 <= args.slots <= 256:
        raise ConfigError(f"--slots {args.slots}: a worker holds 1 to 256 calls")
    config = WorkerConfig(
        address=WorkerAddress.parse(args.address),
        worker_id=args.worker_id,
        num_slots=args.slots,
        engine=args.engine,
        model_dir=args.model_dir,
        device=args.device,
        num_threads=args.threads,
        cpus=_parse_cpus(args.cpus),
        phase_s=args.phase_ms / 1000,
        drain_timeout_s=args.drain_timeout_s,
        secret=read_secret(args.secret_file) if args.secret_file else b"",
        ends_with_stdin=args.ends_with_stdin,
    )
    config.address.check_secret(config.secret)  # before the model is loaded for nothing
    return config


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
    log = structlog.get_logger("agent.worker")
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
