"""The far end of our SIP tests: a gateway in its own process, because PJSIP allows one in each.

`python -m tests.telephony.sip_peer CODEC RTP_PORT` reads one command a line and writes one JSON object a
line: `call URI` places a call that plays a 500 Hz tone; `tone SECONDS` tells the frequency and level that is
heard; `press DIGITS`, `hold`, `resume`, `hangup`; `cancel URI` gives up before the answer; `many URI COUNT`
places short calls one after the other; `follow` accepts REFERs; `count` tells descriptors and free ports.
Events of the call come as `{"event": ...}` by themselves.
"""

import asyncio
import json
import os
import sys
from typing import Any

import numpy as np
import offhook_pjsua2 as pj

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.errors import CallRefused
from telephony.gate_settings import GateSettings
from telephony.settings import SipSettings
from telephony.sip import SipEndpoint, SipGateway
from telephony.sip_call import SipCall, audio_only
from tests.signals import find_tone, tone

TONE_HZ = 500.0


def say(**values: Any) -> None:
    """One JSON line to the test."""
    print(json.dumps(values), flush=True)


class Peer:
    """One caller that does what it is told."""

    def __init__(self, gateway: SipGateway) -> None:
        self.gateway = gateway
        self.endpoint: SipEndpoint | None = None
        self.heard: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Any) -> None:
        """Run beside, until the process ends."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def call(self, uri: str) -> None:
        """Place a call, play the tone, report events."""
        try:
            self.endpoint = await self.gateway.call(uri)
        except CallRefused as refusal:
            say(refused=refusal.status, reason=refusal.reason, retry_after_s=refusal.retry_after_s)
            return
        say(answered=True)
        self.spawn(self.play(self.endpoint))
        self.spawn(self.report(self.endpoint))

    async def play(self, endpoint: SipEndpoint) -> None:
        """Answer each frame with 80 ms of the tone, seamless."""
        sound = tone(TONE_HZ, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 0.3)  # 40 whole periods
        self.heard = []
        async for frame in endpoint.frames():
            self.heard.append(frame)
            endpoint.send(sound)

    async def report(self, endpoint: SipEndpoint) -> None:
        """Tell the test what happens to the call."""
        async for event in endpoint.events():
            say(event=event.kind, digit=event.digit, code=event.code, is_ours=event.is_ours)

    async def tell_tone(self, seconds: float) -> None:
        """Listen for a while, then tell what was heard."""
        already = len(self.heard)
        while len(self.heard) < already + round(seconds / 0.08):  # noqa: ASYNC110  # two tasks, one list
            await asyncio.sleep(0.02)
        pcm = np.concatenate(self.heard[already:])
        say(hz=find_tone(pcm, SAMPLE_RATE_HZ), rms=float(np.sqrt(np.mean(np.square(pcm)))))

    async def many(self, uri: str, count: int) -> None:
        """Short calls, one after the other."""
        for _ in range(count):
            endpoint = await self.gateway.call(uri)
            endpoint.hang_up()
            async for _ in endpoint.events():
                pass
        say(done=count)

    async def cancel(self, uri: str) -> None:
        """Give up before anybody answers."""
        try:
            await self.gateway.call(uri, timeout_s=0.5)
        except TimeoutError:
            say(cancelled=True)

    def act(self, action: Any) -> None:
        """Do something to the raw call that a gateway has no need of."""
        assert self.endpoint is not None
        self.gateway.act(self.endpoint._link.number, action)

    def follow_refers(self) -> None:
        """From now on accept a REFER, as a transferable phone would; PJSIP places the new call itself."""
        lines, new_link = self.gateway._lines, self.gateway._new_link

        def follow(call: SipCall, prm: Any) -> None:
            link = new_link()
            lines._calls[link.number] = prm.newCall = SipCall(lines._accounts.default, link)
            prm.statusCode = 202

        SipCall.onCallTransferRequest = follow  # type: ignore[method-assign,assignment]

    async def obey(self, command: str, arguments: list[str]) -> None:
        """Carry out one line."""
        match command:
            case "call":
                await self.call(arguments[0])
            case "tone":
                await self.tell_tone(float(arguments[0]))
            case "many":
                await self.many(arguments[0], int(arguments[1]))
            case "cancel":
                await self.cancel(arguments[0])
            case "count":
                say(fds=len(os.listdir("/proc/self/fd")), ports_free=self.gateway.counts().ports_free)
            case "hold":
                self.act(lambda call: call.setHold(audio_only()))
            case "resume":
                self.act(unhold)
            case _:
                self.obey_endpoint(command, arguments)

    def obey_endpoint(self, command: str, arguments: list[str]) -> None:
        """Carry out what concerns the running call."""
        assert self.endpoint is not None
        match command:
            case "press":
                self.endpoint.send_dtmf(arguments[0])
            case "hangup":
                self.endpoint.hang_up()
            case "follow":
                self.follow_refers()
            case _:
                raise ValueError(command)


def unhold(call: SipCall) -> None:
    """Send the re-INVITE that ends a hold."""
    parameters = audio_only()
    parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
    call.reinvite(parameters)


async def main() -> None:
    """Obey until standard input closes."""
    codec, rtp_port = sys.argv[1], int(sys.argv[2])
    settings = SipSettings(
        port=0,
        codecs=(codec,),
        max_calls=4,
        rtp_port_min=rtp_port,
        rtp_port_max=rtp_port + 99,
        outbound_enabled=True,
        gate=GateSettings(rtp_port_rest_s=0),
    )
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with SipGateway(settings) as gateway:
        peer = Peer(gateway)
        say(port=gateway.udp_port)
        while line := (await lines.readline()).decode().split():
            await peer.obey(line[0], line[1:])


if __name__ == "__main__":
    asyncio.run(main())
