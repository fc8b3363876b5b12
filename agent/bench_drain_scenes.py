"""What is done to gateways and workers while calls of a load live; `agent.bench_drain` tells what came of it.

Every scene is real: gateways and workers are processes that get SIGTERM, the dispatcher is Kamailio with the
configuration that we ship, and callers who are referred elsewhere call there, as telephones do.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from agent.bench_dispatcher import Dispatcher
from agent.bench_gateway import HOST, GatewayProcess, free_port
from agent.bench_probe import Probe, probe_invite, probe_options
from agent.bench_rtp import PACKET_S
from agent.child_process import stop
from agent.errors import AgentError
from agent.load_generator import Ended, Generator
from agent.load_speech import CODEC, programs

RATE = 10.0  # new calls per second, where all are placed first
SETTLE_S = 3.0  # the last ones are answered and greeted
PROBE_EVERY_S = 0.5
EXIT_S = 15.0  # for a gateway whose calls are over
START_S = 60.0
PORTS_EACH = 1000  # RTP ports of one gateway
HANDING_S = 8.0  # drain time where calls outlive it: the handover begins at half of it
BRIEF = 2  # calls beside them that end before it
WORKER_DRAIN_S = 1
NUM_PROGRAMS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a scene leaves behind to be judged; times are monotonic."""

    name: str
    ended: tuple[Ended, ...]
    probes: tuple[Probe, ...] = ()
    exit_codes: tuple[int | None, ...] = ()  # of gateways that drained; None: it did not end in time
    told_s: float = 0.0  # when the first SIGTERM was sent
    gone_s: float = 0.0  # when that gateway had exited
    took_s: tuple[float, ...] = ()  # each call without a model, until another slot had it
    drain_s: float | None = None  # a deadline that the calls outlive, all but BRIEF of them
    has_target: bool = False  # and then are to be handed over


class Traffic:
    """A generator and, if there is a rate, new calls all the time."""

    def __init__(self, generator: Generator, hold_s: float, calls_per_s: float = 0.0) -> None:
        self.generator, self._hold_s, self._every_s = (
            generator,
            hold_s,
            1 / calls_per_s if calls_per_s else None,
        )
        self._next_s = time.monotonic()

    def run(self, seconds: float) -> None:
        """Let calls come and go on for so long."""
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            if self._every_s is not None and now_s >= self._next_s:
                self.generator.place(self._hold_s)
                self._next_s += self._every_s
            self.generator.run(PACKET_S)

    def meanwhile(self, errand: Callable[[], T]) -> T:
        """The same until something else is done, on a thread of its own."""
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(errand)
            while not doing.done():
                self.run(PACKET_S)
            return doing.result()


def gateway_settings(num_slots: int, index: int = 0, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a gateway for so many calls; `index` tells apart those that run beside each other."""
    first = 20_000 + index * PORTS_EACH
    return {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(num_slots),
        "OFFHOOK_SIP__MAX_CALLS": str(num_slots),
        "OFFHOOK_SIP__CODECS": CODEC,
        "OFFHOOK_SIP__RTP_PORT_MIN": str(first),
        "OFFHOOK_SIP__RTP_PORT_MAX": str(first + PORTS_EACH - 1),
        "OFFHOOK_WEBRTC__ENABLED": "false",
        "OFFHOOK_LOG__FORMAT": "json",
        "OFFHOOK_DRAIN_TIMEOUT_S": "300",
        **(more or {}),
    }


@contextlib.contextmanager
def all_open(gateways: Sequence[GatewayProcess]) -> Iterator[None]:
    """Several at once: most of a start is waiting."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(gateways)) as pool:
        for starting in [pool.submit(one.__enter__) for one in gateways]:
            stack.push(starting.result())
        yield


def _placed(generator: Generator, num_calls: int, hold_s: float) -> None:
    """Place the calls; all of them are answered. Raises AgentError."""
    wanted = generator.num_live + num_calls
    generator.ramp(num_calls, RATE, hold_s)
    generator.run(SETTLE_S)
    if generator.num_talking != wanted:
        raise AgentError(f"{generator.num_talking} of {wanted} calls talk before anything is done to them")


def _callers(remote: tuple[str, int], num_calls: int, hold_s: float) -> Generator:
    return Generator(remote, programs(min(num_calls, NUM_PROGRAMS)), hold_s + 5.0)


# ---- a gateway that drains ----


def drain_under_calls(num_calls: int, hold_s: float) -> Taken:
    """SIGTERM under live calls, which all have half of `hold_s` before them; newcomers try all the time."""
    with GatewayProcess(gateway_settings(num_calls + 2)) as gateway:
        with _callers(gateway.address, num_calls, hold_s) as generator:
            _placed(generator, num_calls, hold_s)
            gateway.terminate()
            told_s = time.monotonic()
            probes = _probe_while_calls_live(Traffic(generator, hold_s), gateway.address)
            generator.run_until_over()
            code = gateway.wait(EXIT_S)
            ended = generator.take_ended()
        return Taken("drain", tuple(ended), probes, (code,), told_s, time.monotonic())


def _probe_while_calls_live(traffic: Traffic, remote: tuple[str, int]) -> tuple[Probe, ...]:
    """Newcomers, as long as the gateway has a reason to be there."""
    probes: list[Probe] = []
    while traffic.generator.num_unreferred:
        found = traffic.meanwhile(lambda: (probe_invite(remote), probe_options(remote)))
        if traffic.generator.num_unreferred:
            probes += found
        traffic.run(PROBE_EVERY_S)
    return tuple(probes)


# ---- a deadline ----


def outlive(num_calls: int, drain_s: float = HANDING_S, *, has_target: bool = True) -> Taken:
    """Calls that go on when the drain time is over, and BRIEF ones that end by themselves before.

    With a target those that are left are handed to another gateway, and talk there.
    """
    hold_s = drain_s + 2 * SETTLE_S
    other = GatewayProcess(gateway_settings(num_calls + 2, 1))
    more = {"OFFHOOK_DRAIN_TIMEOUT_S": f"{drain_s:g}"}
    if has_target:
        more["OFFHOOK_DRAIN_TRANSFER_TARGET"] = other.uri
        more["OFFHOOK_OUTBOUND__CALLS_PER_MINUTE"] = str(max(10, num_calls))
    first = GatewayProcess(gateway_settings(num_calls + BRIEF + 2, 0, more))
    with all_open([first, other] if has_target else [first]):
        with _callers(first.address, num_calls, hold_s) as generator:
            for _ in range(BRIEF):
                generator.place(SETTLE_S + num_calls / RATE + drain_s / 4)
            _placed(generator, num_calls, hold_s)
            first.terminate()
            told_s = time.monotonic()
            probes = _probe_while_calls_live(Traffic(generator, hold_s), first.address)
            code = Traffic(generator, hold_s).meanwhile(lambda: first.wait(EXIT_S))
            gone_s = time.monotonic()
            generator.run_until_over()
            ended = generator.take_ended()
    name = "deadline, with a target" if has_target else "deadline, no target"
    return Taken(name, tuple(ended), probes, (code,), told_s, gone_s, drain_s=drain_s, has_target=has_target)


# ---- a rolling upgrade ----


def upgrade_under_calls(num_calls: int, hold_s: float) -> Taken:
    """Two gateways behind the dispatcher, replaced one after the other under steady new calls."""
    ports = [free_port(), free_port()]
    running = [_behind(index, port, num_calls) for index, port in enumerate(ports)]
    codes: list[int | None] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(all_open(running))
        dispatcher = stack.enter_context(Dispatcher(ports))
        generator = stack.enter_context(_callers(dispatcher.address, num_calls, hold_s))
        traffic = Traffic(generator, hold_s, num_calls / hold_s)
        traffic.run(hold_s)
        told_s = time.monotonic()
        for index, port in enumerate(ports):
            running[index].terminate()
            codes.append(traffic.meanwhile(partial(running[index].wait, hold_s + EXIT_S)))
            new = _behind(index, port, num_calls)
            traffic.meanwhile(partial(stack.enter_context, new))
            traffic.meanwhile(partial(_has_calls, new))
        gone_s = time.monotonic()
        generator.run_until_over()
        ended = generator.take_ended()
    return Taken("rolling upgrade", tuple(ended), (), tuple(codes), told_s, gone_s)


def _behind(index: int, port: int, num_calls: int) -> GatewayProcess:
    return GatewayProcess(gateway_settings(num_calls + 4, index), START_S, port)


def _has_calls(gateway: GatewayProcess) -> None:
    """Return when the dispatcher gives it calls. Raises AgentError."""
    give_up_s = time.monotonic() + EXIT_S
    while not gateway.metric("offhook_calls_active"):
        if time.monotonic() > give_up_s:
            raise AgentError(f"the new gateway gets no calls within {EXIT_S:g} s; it wrote:\n{gateway.log}")
        time.sleep(0.1)


# ---- workers ----


class WorkerProcess:
    """`python -m agent.worker` with the stand-in while open; `restart` is an upgrade of it."""

    def __init__(self, address: str, num_slots: int, folder: Path) -> None:
        self._command = [sys.executable, "-m", "agent.worker", "--address", address, "--engine", "standin"]
        self._command += ["--slots", str(num_slots), "--worker-id", address.partition(":")[0]]
        self._command += ["--drain-timeout-s", str(WORKER_DRAIN_S)]
        self._command += ["--secret-file", str(folder / "secret")]
        self._log = folder / f"{address.partition(':')[0]}.log"

    def __enter__(self) -> Self:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def __exit__(self, *exc: object) -> None:
        stop(self._process, EXIT_S)

    def restart(self) -> None:
        """End it as a service is ended, and start it again. Raises AgentError if it ends badly."""
        self.__exit__()
        if self._process.returncode:
            raise AgentError(
                f"a worker ended with {self._process.returncode}:\n{self._log.read_text()[-2000:]}"
            )
        self.__enter__()


def restart_workers(num_calls: int, hold_s: float) -> Taken:
    """Two workers, one by TCP and one by a unix socket, restarted in turn under live calls."""
    num_slots = num_calls + 2
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="offhook-bench-")))
        secret = secrets.token_hex(32)
        (folder / "secret").write_text(secret)
        addresses = [f"tcp:{HOST}:{free_port()}", f"unix:{folder}/worker.sock"]
        workers = [stack.enter_context(WorkerProcess(one, num_slots, folder)) for one in addresses]
        settings = gateway_settings(num_slots, 0, _outside(addresses, secret))
        gateway = stack.enter_context(GatewayProcess(settings, START_S))
        both = partial(gateway.wait_for_metric, "offhook_worker_slots", 2 * num_slots, START_S)
        both()
        with _callers(gateway.address, num_calls, hold_s) as generator:
            _placed(generator, num_calls, hold_s)
            told_s, traffic = time.monotonic(), Traffic(generator, hold_s)
            for worker in workers:
                traffic.meanwhile(worker.restart)
                traffic.meanwhile(both)
                traffic.run(SETTLE_S)
            gone_s = time.monotonic()
            generator.run_until_over()
            ended = generator.take_ended()
        took_s = tuple(float(event["took_s"]) for event in gateway.events("call_recovered"))
    return Taken("worker restarts", tuple(ended), (), (), told_s, gone_s, took_s)


def _outside(addresses: Sequence[str], secret: str) -> Mapping[str, str]:
    return {
        "OFFHOOK_WORKER__COUNT": "0",
        "OFFHOOK_WORKER__ADDRESSES": ",".join(addresses),
        "OFFHOOK_WORKER__SECRET": secret,
    }
