"""Claims, races, strangers and floods against a worker's server."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from agent import standin, wire, worker_server
from agent.errors import ConfigError
from agent.slot import ClaimRefused, PromptRefused, Slot, SlotFault, WorkerLost
from agent.wire import RefusalReason
from agent.wire_fields import MalformedMessage
from agent.worker_address import WorkerAddress
from model.control import CallProfile
from tests.agent.worker_rig import QUIET, converse, eventually, gateway, served


async def test_every_frame_gets_its_reply_from_a_slot_that_greets(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, address), gateway(address) as link:
        slot = await link.claim("a", fencing=1, seed=3)
        replies = await converse(slot, 15)
        assert [reply.number for reply in replies] == list(range(15))
        assert replies[0].text == standin.LINE_TOKEN and replies[0].pcm.any()
        assert not replies[-1].pcm.any()
        assert all(reply.tokens.shape == (17,) for reply in replies)


async def test_two_gateways_racing_for_one_slot_never_both_get_it(tmp_path: Path) -> None:
    wins = [0, 0]
    async with served(tmp_path, 1) as (server, address), gateway(address) as one, gateway(address) as other:
        for race in range(1000):
            names = (f"a{race}", f"b{race}") if race % 2 else (f"same{race}",) * 2
            claims = [one.claim(names[0], fencing=race, seed=0), other.claim(names[1], fencing=race, seed=0)]
            found = await asyncio.gather(*claims[:: 1 if race % 4 < 2 else -1], return_exceptions=True)
            slots = [slot for slot in found if isinstance(slot, Slot)]
            assert len(slots) == 1 and sum(isinstance(no, ClaimRefused) for no in found) == 1, found
            wins[found.index(slots[0])] += 1
            await slots[0].release()
            await eventually(lambda: not server.num_slots_used)
    assert sum(wins) == 1000


@pytest.mark.parametrize(
    ("call_id", "fencing", "reason"),
    [
        ("a", 9, RefusalReason.ALREADY_CLAIMED),
        ("gone", 5, RefusalReason.STALE_FENCING),
        ("c", 1, RefusalReason.FULL),
    ],
)
async def test_refused_claims_say_why(
    tmp_path: Path, call_id: str, fencing: int, reason: RefusalReason
) -> None:
    async with served(tmp_path, 2) as (_, address), gateway(address) as one, gateway(address) as other:
        gone = await other.claim("gone", fencing=5, seed=0)
        await one.claim("a", fencing=1, seed=0)
        if reason is not RefusalReason.FULL:
            await gone.release()
        with pytest.raises(ClaimRefused, match=reason.name.lower()) as refused:
            await other.claim(call_id, fencing=fencing, seed=0)
        assert refused.value.reason == reason


async def test_a_history_the_engine_cannot_use_is_refused_and_the_slot_is_free_again(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (server, address), gateway(address) as link:
        with pytest.raises(ClaimRefused, match="engine"):
            await link.claim("a", fencing=1, seed=0, history=np.zeros((5, 3), np.int16))
        assert server.num_slots_used == 0
        good = np.zeros((5, 17), np.int16)
        slot = await link.claim("a", fencing=2, seed=0, history=good, caller_pcm=QUIET)
        assert not (await converse(slot, 1))[0].pcm.any()  # no greeting


async def test_a_profile_the_model_cannot_take_is_refused_with_the_reason_in_words(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (server, address), gateway(address) as link:
        with pytest.raises(PromptRefused, match="no voice 'anna'; there is tone") as refused:
            await link.claim("a", fencing=1, seed=0, profile=CallProfile(voice="anna"))
        assert refused.value.reason == RefusalReason.PROMPT
        assert server.num_slots_used == 0
        slot = await link.claim("a", fencing=2, seed=0, profile=CallProfile(voice="tone"))
        assert len(await converse(slot, 1)) == 1


async def test_sentences_and_silences_reach_the_engine(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (_, address), gateway(address) as link:
        slot = await link.claim("a", fencing=1, seed=0)
        await converse(slot, 1)
        assert await slot.silence(2) and await slot.say([41, 42])
        replies = await converse(slot, 5)
        assert [reply.text for reply in replies][:4] == [standin.PAD_TOKEN, standin.PAD_TOKEN, 41, 42]
        assert not replies[0].pcm.any() and replies[2].pcm.any()


async def test_a_lost_connection_frees_its_slots_and_no_others(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as (server, address), gateway(address) as stays:
        kept = await stays.claim("kept", fencing=1, seed=0)
        async with gateway(address) as goes:
            await goes.claim("lost", fencing=1, seed=0)
            assert server.num_slots_used == 2
        await eventually(lambda: server.num_slots_used == 1)
        assert len(await converse(kept, 2)) == 2
        assert isinstance(await stays.claim("next", fencing=1, seed=0), Slot)


async def test_a_fault_ends_its_call_alone(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as (server, address), gateway(address) as link:
        bad, good = await link.claim("bad", fencing=1, seed=0), await link.claim("good", fencing=1, seed=0)
        await bad.force_text(standin.FORCE_NAN)
        with pytest.raises(SlotFault, match="not finite"):
            await converse(bad, 1)
        with pytest.raises(SlotFault):
            await bad.send(QUIET)
        await bad.release()
        assert len(await converse(good, 2)) == 2
        assert server.num_slots_used == 1
        assert isinstance(await link.claim("next", fencing=1, seed=0), Slot)


async def test_messages_about_a_claim_that_is_over_are_counted_and_dropped(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (_, address), raw_gateway(address) as (reader, send):
        send(wire.Claim("a", 1, 0, wire.NO_HISTORY, wire.NO_SPEECH, wire.DEFAULT_PROFILE))
        old = await until(reader, wire.Claimed)
        send(wire.Release(old.slot, old.generation))
        send(wire.Claim("b", 1, 0, wire.NO_HISTORY, wire.NO_SPEECH, wire.DEFAULT_PROFILE))
        new = await until(reader, wire.Claimed)
        assert (new.slot, new.generation) == (old.slot, old.generation + 1)
        for stale in (
            wire.CallerFrame(old.slot, old.generation, 0, np.zeros(1920, np.int16)),
            wire.ForceText(old.slot, old.generation, standin.FORCE_NAN),
            wire.Release(old.slot, old.generation),
            wire.Release(7, 1),
        ):
            send(stale)
        send(wire.CallerFrame(new.slot, new.generation, 42, np.zeros(1920, np.int16)))
        assert (await until(reader, wire.Reply)).number == 42
        assert (await until(reader, wire.Stats)).num_stale == 4


async def test_one_gateway_cannot_touch_anothers_slot(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (server, address), gateway(address) as owner:
        slot = await owner.claim("a", fencing=1, seed=0)
        async with raw_gateway(address) as (reader, send):
            send(wire.Release(slot.index, slot.generation))
            send(wire.ClockProbe(1.0))
            await until(reader, wire.ClockReply)
        assert server.num_slots_used == 1 and len(await converse(slot, 1)) == 1


@contextlib.asynccontextmanager
async def raw_gateway(
    address: WorkerAddress, secret: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, Callable[[wire.Message], None]]]:
    """A gateway that says what the test wants, after a proper greeting."""
    reader, writer = await address.connect()
    try:
        challenge = await until(reader, wire.Challenge)
        nonce = secrets.token_bytes(32)
        writer.write(wire.Proof(nonce, wire.gateway_mac(secret, challenge.nonce, nonce)).encode())
        await until(reader, wire.Hello)
        yield reader, lambda message: writer.write(message.encode())
    finally:
        writer.close()


M = TypeVar("M", bound=wire.Message)


async def until(reader: asyncio.StreamReader, kind: type[M]) -> M:
    """The next message of this kind; others are passed over."""
    while True:
        message = await wire.read_message(reader)
        assert message is not None, f"closed before a {kind.__name__} came"
        if isinstance(message, kind):
            return message


async def is_hung_up(reader: asyncio.StreamReader) -> bool:
    try:
        while await wire.read_message(reader) is not None:
            pass
    except (OSError, MalformedMessage):
        pass
    return True


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        wire.Drain().encode(),
        wire.Proof(bytes(32), bytes(32)).encode(),
        wire.Claim("a", 1, 0, wire.NO_HISTORY, wire.NO_SPEECH, wire.DEFAULT_PROFILE).encode(),
        (2**31).to_bytes(4, "big"),
    ],
)
async def test_strangers_are_hung_up_on_and_harm_nobody(tmp_path: Path, greeting: bytes) -> None:
    async with served(tmp_path, 1, secret=b"0123456789abcdef") as (_, address):
        reader, writer = await address.connect()
        writer.write(greeting)
        if not greeting:
            writer.write_eof()
        assert await is_hung_up(reader)
        writer.close()
        async with gateway(address, b"0123456789abcdef") as link:
            assert isinstance(await link.claim("a", fencing=1, seed=0), Slot)


@pytest.mark.parametrize("nonsense", [wire.Challenge(bytes(32)).encode(), b"\0\0\0\2\1\xff", bytes(4)])
async def test_a_gateway_that_sends_nonsense_loses_its_slots(tmp_path: Path, nonsense: bytes) -> None:
    async with served(tmp_path, 1) as (server, address), raw_gateway(address) as (reader, send):
        send(wire.Claim("a", 1, 0, wire.NO_HISTORY, wire.NO_SPEECH, wire.DEFAULT_PROFILE))
        await until(reader, wire.Claimed)

        class Nonsense(wire.Drain):
            def encode(self) -> bytes:
                return nonsense

        send(Nonsense())
        assert await is_hung_up(reader)
        await eventually(lambda: not server.num_slots_used)


async def test_a_silent_gateway_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_server, "PEER_TIMEOUT_S", 0.3)
    async with served(tmp_path, 1) as (server, address), raw_gateway(address) as (reader, send):
        send(wire.Claim("a", 1, 0, wire.NO_HISTORY, wire.NO_SPEECH, wire.DEFAULT_PROFILE))
        await until(reader, wire.Claimed)
        assert await is_hung_up(reader)
        await eventually(lambda: not server.num_slots_used)


async def test_a_gateway_that_does_not_read_costs_only_its_own_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_server, "MAX_UNSENT_BYTES", 0)
    async with (
        served(tmp_path, 2) as (_, address),
        raw_gateway(address) as (_, send),
        gateway(address) as link,
    ):
        slot = await link.claim("a", fencing=1, seed=0)
        for probe in range(12_000):  # the answers fill the socket, then the buffer
            send(wire.ClockProbe(probe))
        assert len(await converse(slot, 3)) == 3


async def test_tcp_needs_the_secret(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as group:
        async with served(tmp_path, address=WorkerAddress(host="127.0.0.1", port=1)):
            pass
    assert group.value.subgroup(ConfigError) is not None


async def test_a_drain_takes_no_claims_and_ends_with_the_last_call(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as (server, address), gateway(address) as link:
        slot = await link.claim("a", fencing=1, seed=0)
        draining = asyncio.ensure_future(server.drain(10.0))
        await eventually(lambda: link.is_draining)
        assert link.num_slots_free == 0
        with pytest.raises(ClaimRefused, match="draining"):
            await link.claim("b", fencing=1, seed=0)
        assert len(await converse(slot, 2)) == 2
        assert not draining.done()
        await slot.release()
        await draining


async def test_what_breaks_the_engine_thread_comes_out_of_serve(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as group:
        async with served(tmp_path, 1) as (_, address), gateway(address) as link:
            for number in range(3):
                slot = await link.claim(f"call-{number}", fencing=1, seed=0)
                await slot.force_text(standin.FORCE_RAISE)
                with pytest.raises((SlotFault, WorkerLost)):
                    await converse(slot, 1)
    assert group.value.subgroup(RuntimeError) is not None
