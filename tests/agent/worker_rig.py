"""A worker's server in this process, with a clock that runs faster than the world's."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np

from agent.slot import Slot, SlotReply
from agent.standin import VOICES, StandIn
from agent.wire import FRAME_SAMPLES
from agent.worker_address import WorkerAddress
from agent.worker_link import WorkerLink
from agent.worker_server import WorkerIdentity, WorkerServer

HURRY = 20.0
START_S = 50.0  # the most that a worker of a busy machine may take to start
QUIET = np.zeros(FRAME_SAMPLES, np.float32)


class HurriedClock:
    """The monotonic clock at twenty times its speed: a tick takes 4 ms."""

    def now(self) -> float:
        return time.monotonic() * HURRY

    def sleep_until(self, deadline_s: float) -> None:
        while (left_s := deadline_s - self.now()) > 0:
            time.sleep(left_s / HURRY)


CLOCK = HurriedClock()


@contextlib.asynccontextmanager
async def served(
    folder: Path, num_slots: int = 2, *, secret: bytes = b"", address: WorkerAddress | None = None
) -> AsyncIterator[tuple[WorkerServer, WorkerAddress]]:
    """A worker that answers on `folder`/w.sock, or on `address`."""
    stepper = StandIn(num_slots, step_s=0.001, row_step_s=0.0, clock=CLOCK)
    identity = WorkerIdentity("w0", "standin", 17, VOICES, step_p99_s=0.05)
    server = WorkerServer(stepper, identity, secret=secret, clock=CLOCK)
    where = address or WorkerAddress(path=str(folder / "w.sock"))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(where))
        await eventually(lambda: accepts(where))
        try:
            yield server, where
        finally:
            server.stop()


def accepts(address: WorkerAddress) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if address.path else socket.AF_INET
    with socket.socket(family) as probe:
        return not probe.connect_ex(address.path or (address.host, address.port))


def is_alive(pid: int) -> bool:
    """Whether the process exists, be it as a zombie."""
    return os.path.exists(f"/proc/{pid}")


async def eventually(is_true: Callable[[], bool], within_s: float = 10.0) -> None:
    """Let the event loop go on until this is so."""
    async with asyncio.timeout(within_s):
        while True:
            if is_true():
                return
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def gateway(address: WorkerAddress, secret: bytes = b"") -> AsyncIterator[WorkerLink]:
    """A link that lives on the hurried clock too."""
    link = await WorkerLink.connect(address, secret=secret, now=CLOCK.now)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        try:
            yield link
        finally:
            link.close()


async def converse(slot: Slot, num_frames: int) -> list[SlotReply]:
    """Send silent frames, each after the reply to the one before."""
    found: list[SlotReply] = []
    replies = slot.replies()
    for _ in range(num_frames):
        await slot.send(QUIET)
        found.append(await anext(replies))
    return found
