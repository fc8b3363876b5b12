"""One gateway of ours, registered at Asterisk by one line, and the calls between them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, EndpointEvent, EndpointEventKind
from telephony.errors import CallEnded
from telephony.registration import RegistrationResult
from telephony.settings import SipSettings, TlsSettings
from telephony.sip import SipEndpoint, SipGateway
from telephony.trunks import Trunk
from tests.asterisk import sound
from tests.asterisk.configuration import ENVIRON, Line, trunk_of, uri
from tests.asterisk.pbx import Asterisk
from tests.loopback.sipp import find_free_port
from tests.signals import Pcm

WAIT_S = 15.0
WARM_UP_S = 1.0  # of silence both ways, in which jitter buffers start and keys are agreed on
TAIL_S = 2.0  # what was sent last is under way for less


class Phone:
    """One call: its sound as it is heard, while what it shall say is played; its events as they come."""

    def __init__(self, endpoint: SipEndpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self._folder = folder
        self.events: list[EndpointEvent] = []
        self._changed = asyncio.Event()
        self._frames: list[Pcm] = []
        self._sent: int | None = None  # samples of the ladder that are out; None: silence
        self._tasks = [asyncio.create_task(one) for one in (self._listen(), self._follow())]

    async def walk(self, seconds: int, tail_s: float = TAIL_S) -> Pcm:
        """Say so many seconds of the ladder; what is heard meanwhile, float32 [T]."""
        self._frames, self._sent = [], 0
        await self._hear(seconds + tail_s)
        self._sent = None
        return self._heard()

    async def listen(self, seconds: float) -> Pcm:
        """Say nothing; what is heard, float32 [T]."""
        self._frames, self._sent = [], None
        await self._hear(seconds)
        return self._heard()

    async def until(
        self, kind: EndpointEventKind, count: int = 1, timeout_s: float = WAIT_S
    ) -> list[EndpointEvent]:
        """So many events of that kind. Raises TimeoutError, CallEnded if the call is over before."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = [event for event in self.events if event.kind is kind]
                if len(found) >= count:
                    return found
                if self.is_over:
                    raise CallEnded(f"the call ended before {count} {kind}")
                self._changed.clear()
                await self._changed.wait()

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return any(event.kind is EndpointEventKind.ENDED for event in self.events)

    async def hang_up(self) -> None:
        """End the call, and wait until it is over."""
        self.endpoint.hang_up()
        await self.until(EndpointEventKind.ENDED)
        await asyncio.gather(*self._tasks)

    def keep(self, heard: Pcm, name: str) -> None:
        """Leave what was heard beside the library's logs, for whoever looks into what was wrong."""
        soundfile.write(self._folder / f"{name}.wav", heard, SAMPLE_RATE_HZ)

    def _heard(self) -> Pcm:
        frames, self._frames = self._frames, []
        return np.concatenate(frames) if frames else np.zeros(0, np.float32)

    async def _hear(self, seconds: float) -> None:
        """Until so much was heard. Raises CallEnded."""
        needed = round(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)
        async with asyncio.timeout(seconds + WAIT_S):
            while len(self._frames) < needed:
                if self.is_over:
                    raise CallEnded(f"the call ended after {len(self._frames)} of {needed} frames")
                self._changed.clear()
                await self._changed.wait()

    async def _listen(self) -> None:
        silence = np.zeros(FRAME_SAMPLES, np.float32)
        async for frame in self.endpoint.frames():
            self._frames.append(frame)
            if self._sent is None:
                self.endpoint.send(silence)
            else:
                self.endpoint.send(sound.ladder(self._sent, FRAME_SAMPLES))
                self._sent += FRAME_SAMPLES
            self._changed.set()

    async def _follow(self) -> None:
        async for event in self.endpoint.events():
            self.events.append(event)
            self._changed.set()


class Rig:
    """An async context: a gateway that is registered by `line`."""

    def __init__(self, asterisk: Asterisk, line: Line, log: Path) -> None:
        self.asterisk, self.line, self.log = asterisk, line, log
        trunk = Trunk.model_validate(trunk_of(line, asterisk.place), context={"environ": ENVIRON})
        files = asterisk.tls
        tls = TlsSettings(
            port=find_free_port(),
            certificate=files / "offhook.crt",
            key=files / "offhook.key",
            authorities=files / "authority.pem",
        )
        settings = SipSettings(
            port=find_free_port(),
            max_calls=6,
            rtp_port_min=31_000,
            rtp_port_max=31_199,
            outbound_enabled=True,
            codecs=(line.codec,),
            transports=("udp", "tcp", "tls"),
            tls=tls,
        )
        self._registered = asyncio.Event()
        self._phones: list[Phone] = []
        self._stack = AsyncExitStack()
        self.gateway = SipGateway(
            settings, str(log), trunks={line.name: trunk}, on_registered=self._on_registered
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.gateway)
        async with asyncio.timeout(WAIT_S):
            await self._registered.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for phone in self._phones:
            phone.endpoint.hang_up()
        await self._stack.aclose()

    def uri(self, extension: str) -> str:
        """An extension's address by this line."""
        return uri(extension, self.line, self.asterisk.place)

    def phone(self, endpoint: SipEndpoint) -> Phone:
        """Take up a call."""
        phone = Phone(endpoint, self.log.parent)
        self._phones.append(phone)
        return phone

    async def dial(self, extension: str) -> Phone:
        """Call Asterisk; once it has answered."""
        return self.phone(await self.gateway.call(self.uri(extension), WAIT_S, trunk=self.line.name))

    async def called(self, extension: str) -> Phone:
        """Be called by Asterisk, which then does what that extension says."""
        order = f"channel originate PJSIP/{self.line.name} extension {extension}@offhook"
        ordered = asyncio.create_task(asyncio.to_thread(self.asterisk.command, order))
        try:
            return await self.answered()
        finally:
            await ordered

    async def answered(self) -> Phone:
        """The next call that comes in, answered."""
        async with asyncio.timeout(WAIT_S):
            async for invite in self.gateway.incoming():
                return self.phone(await invite.answer())
        raise CallEnded("the gateway has stopped")

    async def bridged(self) -> tuple[Phone, Phone]:
        """Two calls of ours on one bridge of Asterisk's: the one that called, the one that it called then."""
        calling = asyncio.create_task(self.dial("bridge"))
        called = await self.answered()
        return await calling, called

    def _on_registered(self, trunk: str, is_registered: bool, result: RegistrationResult) -> None:
        if is_registered:
            self._registered.set()
