"""Two ways to hold a scene: over real SIP, or on a virtual clock. Both hand over the same things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.bench_gateway import GatewayProcess
from agent.energy_gate import Pcm
from agent.evaluation.call_loop import DELEGATE_TIMEOUT_S, Signals, hold_calls
from agent.evaluation.placed_call import calling_end, place_call
from agent.evaluation.quick import ATTEMPTS, BUSY, MISSES, own_line
from agent.evaluation.scene_caller import SceneCaller
from agent.evaluation.scenes import Scene
from agent.evaluation.script import SaidTurn
from agent.evaluation.virtual import DOWN_DELAY_S, UP_DELAY_S, VirtualCall
from agent.tick_loop import Stepper
from telephony.errors import CallRefused
from telephony.sip_uri import checked_uri

if TYPE_CHECKING:
    from telephony.sip import SipGateway

LIMIT_S = 160.0  # an agent that hears itself may never let the caller speak
BATCH = 4  # scenes drawn ahead for each call that goes on at once


@dataclass(frozen=True, slots=True)
class HeldScene:
    """A scene that was held: what was said when, both channels float32 [T], the transcript's words."""

    scene: Scene
    said: Sequence[SaidTurn]
    caller: Pcm
    agent: Pcm
    words: Sequence[dict[str, str | float]] | None  # None: the line did not tell them


Keep = Callable[[HeldScene], None]


class SceneLine(Protocol):
    """Whoever can hold scenes."""

    def hold(self, scenes: Iterator[Scene], keep: Keep) -> None:
        """Hold every scene and hand it over; the order may differ."""


@dataclass(frozen=True, slots=True)
class VirtualLine:
    """An engine on a virtual clock, as many scenes at once as it has slots."""

    stepper: Stepper
    signals: Signals
    up_s: float = UP_DELAY_S
    down_s: float = DOWN_DELAY_S
    limit_s: float = LIMIT_S

    def hold(self, scenes: Iterator[Scene], keep: Keep) -> None:
        """As `SceneLine.hold`."""
        callers: dict[int, SceneCaller] = {}

        def calls() -> Iterator[VirtualCall]:
            for scene in scenes:
                callers[scene.number] = caller = SceneCaller(scene)
                yield VirtualCall(scene.number, caller, self.limit_s, self.up_s, self.down_s)

        def done(call: VirtualCall) -> None:
            caller = callers.pop(call.number)
            words = [word.as_json() for word in call.words]
            keep(HeldScene(caller.scene, caller.said, *call.channels(), words))

        hold_calls(self.stepper, self.signals, calls(), done)


@dataclass(frozen=True, slots=True)
class SipLine:
    """A running line, called over real SIP; where it is our own, it tells the transcript."""

    uri: str
    concurrent: int
    codec: str
    gateway: GatewayProcess | None = None
    recordings: Path | None = None  # where our own line writes

    def hold(self, scenes: Iterator[Scene], keep: Keep) -> None:
        """As `SceneLine.hold`. Scenes are drawn in batches between the calls, not during them."""
        while batch := list(islice(scenes, BATCH * self.concurrent)):
            asyncio.run(self._hold_all(batch, keep))

    async def _hold_all(self, waiting: list[Scene], keep: Keep) -> None:
        async def one_after_another(phone: SipGateway) -> None:
            while waiting:
                held = await self._hold_one(phone, waiting.pop(0))
                await asyncio.to_thread(keep, held)

        async with calling_end((self.codec,)) as phone, asyncio.TaskGroup() as group:
            for _ in range(self.concurrent):
                group.create_task(one_after_another(phone))

    async def _hold_one(self, phone: SipGateway, scene: Scene) -> HeldScene:
        for attempt in range(ATTEMPTS):
            caller = SceneCaller(scene)
            try:
                call = await place_call(phone, self.uri, caller, LIMIT_S)
            except CallRefused as error:  # the slot of the call before may still be on its way back
                if error.status != BUSY or attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(error.retry_after_s or 1)
                continue
            words = await self._words(call.call_id)
            return HeldScene(scene, caller.said, *call.tape.channels(), words)
        raise AssertionError(ATTEMPTS)

    async def _words(self, sip_call_id: str) -> list[dict[str, str | float]] | None:
        """What our own line wrote down of a call; None where another's line was called.

        The line's own recording of the call is deleted: the run keeps the caller's end of it.
        """
        if self.gateway is None or self.recordings is None:
            return None
        offered = await asyncio.to_thread(self.gateway.events, "call_offered")
        ours = [event["call_id"] for event in offered if event["pii_peer_call_id"] == sip_call_id]
        if not ours:
            return None
        for _ in range(20):  # it is written a moment after the call's end
            for path in self.recordings.glob(f"*-{ours[0][:8]}.json"):
                sidecar = json.loads(path.read_text(encoding="utf-8"))
                if sidecar["end_reason"] is not None:
                    words: list[dict[str, str | float]] = sidecar["words"]
                    for file in self.recordings.glob(f"{path.stem}.*"):
                        file.unlink()
                    return words
            await asyncio.sleep(0.1)
        return None


@contextmanager
def sip_line(
    uri: str | None, concurrent: int, codec: str, recordings: Path, engine: str
) -> Iterator[SipLine]:
    """The line at `uri`, or one of our own with this engine, while open."""
    if uri is not None:
        yield SipLine(checked_uri(uri), concurrent, codec)
        return
    more = {
        "OFFHOOK_RECORDING__FOLDER": str(recordings.resolve()),
        "OFFHOOK_LOG__FORMAT": "json",
        "OFFHOOK_LOG__PII": "yes",  # our own callers' calls are found by their Call-ID
        "OFFHOOK_WORKER__ENGINE": engine,
        "OFFHOOK_AGENT__DELEGATE_TIMEOUT_S": str(DELEGATE_TIMEOUT_S),
    }
    with own_line(concurrent, **more) as gateway:
        yield SipLine(gateway.uri, concurrent, codec, gateway, recordings)


def deadline_misses(line: SipLine) -> int | None:
    """Of our own line, so far; None for another's."""
    return None if line.gateway is None else round(line.gateway.metric(MISSES))
