"""Scenarios of hold and transfer: two of our calls on one bridge of Asterisk's, or one call that is moved."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from agent.clock import now
from agent.hold_music import ComfortTone, HoldMusic
from agent.outbound import OutboundPolicy, OutboundSettings
from agent.outbound_ledger import OutboundLedger
from agent.redis_server import private_redis
from agent.transfer import TransferOrder, TransferResult, Transfers
from agent.transfer_desk import TransferDesk
from agent.transfer_settings import TransferSettings
from telephony.endpoint import SAMPLE_RATE_HZ, EndpointEventKind
from telephony.sip_call import SipCall, audio_only
from tests.asterisk import sound
from tests.asterisk.media import echoed
from tests.asterisk.report import Verdict
from tests.asterisk.rig import WARM_UP_S, Phone, Rig
from tests.telephony.sip_peer import unhold

TALK_S = 3
QUIET_S = 2
SETTLE_S = 1.5  # in which what was under way arrives, and a recording begins
CROSSING_S = 0.5  # two re-INVITEs that cross are refused (RFC 3261 section 14.1)
_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", re.MULTILINE)


async def on_hold(rig: Rig, verdict: Verdict) -> None:
    """One call holds by re-INVITE, Asterisk passes it on by its own; then both hold: silence, then sound."""
    first, second = await rig.bridged()
    await conversation(first, second, verdict, "before")
    for number, holders in enumerate(((first,), (second,), (first, second)), start=1):
        for holder in holders:
            rig.gateway.act(holder.endpoint.number, _hold)
            for phone in (first, second):
                await phone.until(EndpointEventKind.HELD, number)
            await asyncio.sleep(CROSSING_S)
        await asyncio.gather(first.listen(SETTLE_S), second.listen(SETTLE_S))
        for quiet in await asyncio.gather(first.walk(QUIET_S, 0), second.walk(QUIET_S, 0)):
            verdict.hear(f"silence in hold {number}", sound.judge_silence(quiet, SAMPLE_RATE_HZ), QUIET_S)
        for holder in holders:
            rig.gateway.act(holder.endpoint.number, unhold)
            await asyncio.sleep(CROSSING_S)
        for phone in (first, second):
            await phone.until(EndpointEventKind.RESUMED, number)
        await conversation(first, second, verdict, f"after hold {number}")
    await first.hang_up()
    await second.until(EndpointEventKind.ENDED)


def directions(log: str, verdict: Verdict) -> None:
    """A look into the library's log: both sides have said it in their descriptions."""
    spoken = set(_DIRECTION.findall(log)) - {"sendrecv"}
    verdict.facts["directions"] = "/".join(sorted(spoken))
    verdict.check({"sendonly", "inactive"} <= spoken, f"only {spoken} were spoken")


async def blind(rig: Rig, verdict: Verdict) -> None:
    """An agent that Asterisk has called hands the caller over by REFER; Asterisk follows and says so."""
    caller, agent = await rig.bridged()
    await conversation(caller, agent, verdict, "before")
    result = await transferred(rig, agent, TransferOrder(rig.uri("tone")))
    verdict.check(result is TransferResult.COMPLETED, f"the transfer was {result.value}")
    await caller.listen(SETTLE_S)
    heard = await caller.listen(TALK_S)
    verdict.hear("the caller, elsewhere", sound.judge_tone(heard, SAMPLE_RATE_HZ), TALK_S)
    await agent.hang_up()  # as a session does when the caller is elsewhere
    heard = await caller.listen(TALK_S)
    verdict.hear("the caller, after we left", sound.judge_tone(heard, SAMPLE_RATE_HZ), TALK_S)
    await caller.hang_up()


async def blind_to_nobody(rig: Rig, verdict: Verdict) -> None:
    """A REFER to an extension that there is not: we are told so, and the caller is still ours."""
    caller, agent = await rig.bridged()
    result = await transferred(rig, agent, TransferOrder(rig.uri("nobody")))
    verdict.facts["result"] = result.value
    verdict.check(result is not TransferResult.COMPLETED, "a transfer to nobody was completed")
    await conversation(caller, agent, verdict, "after")
    await caller.hang_up()
    await agent.until(EndpointEventKind.ENDED)


async def moved(rig: Rig, verdict: Verdict) -> None:
    """Whoever we talk to hands us over within Asterisk: the call goes on with somebody else."""
    other, ours = await rig.bridged()
    await conversation(other, ours, verdict, "before")
    other.endpoint.refer(rig.uri("tone"))
    told = await other.until(EndpointEventKind.TRANSFER)
    verdict.facts["first NOTIFY"] = told[0].code
    await ours.listen(SETTLE_S)
    heard = await ours.listen(TALK_S)
    verdict.hear("us, with another", sound.judge_tone(heard, SAMPLE_RATE_HZ), TALK_S)
    verdict.check(not ours.is_over, "our call ended with the transfer")
    await ours.hang_up()


async def refused(rig: Rig, verdict: Verdict) -> None:
    """Asterisk sends us a REFER: we never follow one, and the call goes on."""
    before = len(rig.asterisk.notes("transfer"))
    phone = await rig.dial("refer-us")
    async with asyncio.timeout(10):
        while not (told := rig.asterisk.notes("transfer")[before:]):
            await phone.listen(0.4)
    verdict.facts["TRANSFERSTATUS"] = told[0]
    verdict.check(told == ["FAILURE"], f"Asterisk says of its transfer: {told}")
    await echoed(phone, verdict, "after it", TALK_S)
    verdict.check(rig.gateway.counts().calls == 1, "we have placed a call for a REFER")
    await phone.hang_up()


async def attended(rig: Rig, verdict: Verdict) -> None:
    """A caller is joined with a desk that we have called: both at Asterisk, the sound crosses our bridge."""
    caller = await rig.called("echo")
    await echoed(caller, verdict, "before", TALK_S)
    desk_heard = TALK_S + 2
    order = TransferOrder(rig.uri("desk"), "attended", trunk=rig.line.name)
    async with desk_of(rig, order) as desk:
        transfers = Transfers(caller.endpoint, Waits(), desk, now)
        result = await transfers.attempt(order)
        verdict.check(result is TransferResult.COMPLETED, f"the transfer was {result.value}")
        if transfers.handover is None:
            return
        ending = asyncio.create_task(transfers.until_over(lambda: asyncio.ensure_future(_gone(caller))))
        await caller.listen(SETTLE_S + desk_heard)
        verdict.check(not caller.is_over and not ending.done(), "a call ended with the transfer")
        await caller.hang_up()
        await ending  # which hangs up on the desk
        async with asyncio.timeout(10):
            while rig.gateway.counts().calls:  # noqa: ASYNC110 - counts tell no event
                await asyncio.sleep(0.1)
    recorded, rate = rig.asterisk.heard("desk")
    # The desk plays a tone, the caller echoes it: it has crossed our bridge twice.
    heard = sound.judge_tone(recorded[round(SETTLE_S * rate) :], rate)
    verdict.hear("the desk, by the caller's echo", heard[:desk_heard], desk_heard - 1)


async def transferred(rig: Rig, phone: Phone, order: TransferOrder) -> TransferResult:
    """Have the agent's own transfer do it, told of NOTIFYs as a session tells it."""
    async with desk_of(rig, order) as desk:
        transfers = Transfers(phone.endpoint, Waits(), desk, now)
        attempt = asyncio.create_task(transfers.attempt(order))
        num_told = 0
        while not attempt.done():
            told = [event for event in phone.events if event.kind is EndpointEventKind.TRANSFER]
            for event in told[num_told:]:
                transfers.on_notify(event.code)
            num_told = len(told)
            await asyncio.sleep(0.02)
        return await attempt


@contextlib.asynccontextmanager
async def desk_of(rig: Rig, order: TransferOrder) -> AsyncIterator[TransferDesk]:
    """The gateway's side of transfers, with the policy that allows this one."""
    policy = OutboundPolicy(OutboundSettings(max_duration_s=60), lambda: (order.to,))
    async with private_redis() as redis, OutboundLedger(redis.url, policy) as ledger:
        settings = TransferSettings(accept_timeout_s=5, answer_timeout_s=15)
        yield TransferDesk(settings, ledger, rig.gateway)


async def conversation(one: Phone, other: Phone, verdict: Verdict, what: str) -> None:
    """Two phones hear each other, both at once."""
    await asyncio.gather(one.listen(WARM_UP_S), other.listen(WARM_UP_S))
    heard = await asyncio.gather(one.walk(TALK_S), other.walk(TALK_S))
    for name, pcm in zip(("one", "other"), heard, strict=True):
        verdict.hear(f"{what}, {name}", sound.judge_ladder(np.asarray(pcm), TALK_S), TALK_S)


class Waits:
    """A conversation in which nothing is being said."""

    is_muted = False
    music: HoldMusic | ComfortTone | None = None

    async def until_quiet(self) -> None:
        """It is."""


async def _gone(phone: Phone) -> Any:
    return await phone.until(EndpointEventKind.ENDED, timeout_s=60)


def _hold(call: SipCall) -> None:
    call.setHold(audio_only())
