"""The smallest application on `telephony.sip`: the user part of the address called says what it does.

    echo    sends back what it hears          digits  echoes, and presses 159#
    rung    rings for half a second, then echoes
    slow    rings, and never answers          refer   sends the caller on to the URI of --target
    busy    486                               full    503 with Retry-After, before any ringing

Events are written to standard output as JSON lines, the caller's sound and ours to FOLDER/<call id>.npy,
float32 [2, T] at 24 kHz. It ends when standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import structlog

from telephony.endpoint import EndpointEventKind
from telephony.errors import CallEnded
from telephony.settings import SipSettings
from telephony.sip import IncomingSipCall, SipEndpoint, SipGateway

DIGITS = "159#"


def tell(kind: str, **values: object) -> None:
    """Write one event."""
    print(json.dumps({"event": kind, **values}), flush=True)


class Answerer:
    """Answers every call by its extension until its standard input ends."""

    def __init__(self, gateway: SipGateway, folder: Path, target: str) -> None:
        self._gateway, self._folder, self._target = gateway, folder, target
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Serve; print `ready` first and `stopped`, with what is still held, last."""
        gateway = self._gateway
        tell("ready", udp=gateway.udp_port, tcp=gateway.tcp_port, ports_free=gateway.counts().ports_free)
        async with self._group:
            stdin = self._group.create_task(self._stop_with_stdin())
            async for invite in gateway.incoming():
                self._group.create_task(self._serve(invite))
            await stdin
        counts = gateway.counts()
        tell(
            "stopped",
            calls=counts.calls,
            ports_free=counts.ports_free,
            foreign=counts.foreign_messages,
            malformed=counts.malformed_messages,
        )

    async def _stop_with_stdin(self) -> None:
        await asyncio.to_thread(sys.stdin.read)
        await self._gateway.stop()

    async def _serve(self, invite: IncomingSipCall) -> None:
        extension = invite.called.partition("@")[0].rpartition(":")[2]
        tell("invite", extension=extension, call_id=invite.call_id, caller=invite.caller)
        match extension:
            case "busy":
                invite.reject(486)
            case "full":
                invite.reject(503, headers={"Retry-After": "7"})
            case "slow":
                await self._ring(invite)
            case "rung":
                invite.ring()
                await asyncio.sleep(0.5)
                await self._talk(invite, extension)
            case _:
                await self._talk(invite, extension)

    async def _ring(self, invite: IncomingSipCall) -> None:
        invite.ring()
        while not invite.is_gone:  # noqa: ASYNC110  # an undecided call has no event to wait for
            await asyncio.sleep(0.02)
        tell("gone", call_id=invite.call_id)

    async def _talk(self, invite: IncomingSipCall, extension: str) -> None:
        try:
            endpoint = await invite.answer()
        except CallEnded as error:
            tell("unanswered", call_id=invite.call_id, reason=str(error))
            return
        if extension == "digits":
            endpoint.send_dtmf(DIGITS)
        if extension == "refer":
            endpoint.refer(self._target)
        watch = asyncio.create_task(self._watch(endpoint))
        sound: list[np.ndarray[tuple[int, int], np.dtype[np.float32]]] = []
        async for frame in endpoint.frames():
            endpoint.send(frame)
            if endpoint.latest is not None:
                sound.append(np.stack([endpoint.latest.pcm, endpoint.latest.played]))
        await watch
        if sound:
            np.save(self._folder / f"{invite.call_id}.npy", np.concatenate(sound, axis=1))
        stats = endpoint.stats()
        tell(
            "stats",
            call_id=endpoint.call_id,
            codec=stats.codec,
            foreign_packets=stats.foreign_packets,
            rx_packets=stats.rx_packets,
            rx_lost=stats.rx_lost,
            frames=len(sound),
        )

    async def _watch(self, endpoint: SipEndpoint) -> None:
        async for event in endpoint.events():
            tell(str(event.kind), call_id=endpoint.call_id, digit=event.digit, code=event.code)
            if event.kind is EndpointEventKind.TRANSFER and event.code >= 200:
                endpoint.hang_up()


async def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--peers", default="")
    parser.add_argument("--target", default="sip:desk@127.0.0.1:5999")
    args = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = SipSettings(
        bind_address=args.address,
        port=0,
        allowed_peers=tuple(args.peers.split()),
        max_calls=16,
        codecs=(*SipSettings().codecs, "opus"),
    )
    async with SipGateway(settings) as gateway:
        await Answerer(gateway, args.folder, args.target).run()


if __name__ == "__main__":
    asyncio.run(main())
