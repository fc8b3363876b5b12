"""A gateway's side: greeting, clock, claims that are given up, and the end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent import wire, worker_link, worker_server
from agent.errors import ConfigError, WorkerUnavailable
from agent.slot import ClaimRefused, Slot, WorkerLost
from agent.worker_address import WorkerAddress
from agent.worker_link import WorkerLink, linked
from tests.agent.worker_rig import CLOCK, HURRY, QUIET, converse, eventually, gateway, served

SECRET = b"0123456789abcdef"


async def test_it_learns_what_the_worker_is(tmp_path: Path) -> None:
    async with served(tmp_path, 3) as (_, address), gateway(address) as link:
        assert (link.worker_id, link.hello.model, link.hello.num_slots) == ("w0", "standin", 3)
        assert (link.hello.num_columns, link.hello.frame_samples, link.hello.period_s) == (17, 1920, 0.08)
        assert (link.hello.voices, link.hello.takes_role, link.hello.step_p99_s) == (("tone",), False, 0.05)
        assert link.num_slots_free == 3


async def test_a_worker_with_another_clock_is_understood(tmp_path: Path) -> None:
    ahead_s = 5000.0
    async with served(tmp_path, 1) as (_, address):
        link = await WorkerLink.connect(address, now=lambda: CLOCK.now() - ahead_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(link.run())
            assert link.offset_s == pytest.approx(ahead_s, abs=link.round_trip_s / 2 + 1e-6)
            assert 0 < link.round_trip_s < HURRY
            slot = await link.claim("a", fencing=1, seed=0)
            sent_s = CLOCK.now() - ahead_s
            (reply,) = await converse(slot, 1)
            half_s = link.round_trip_s / 2
            assert sent_s - half_s <= reply.collected_s <= reply.delivered_s <= reply.received_s + half_s
            assert reply.delivered_s - reply.collected_s >= reply.step_s
            link.close()


async def test_ticks_are_foretold_on_our_clock(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (_, address), gateway(address) as link:
        slot = await link.claim("a", fencing=1, seed=0)
        (reply,) = await converse(slot, 1)
        tick_s = link.next_tick_s(reply.collected_s - 0.04)
        assert reply.collected_s - 0.04 <= tick_s < reply.collected_s + 0.04
        assert link.next_tick_s(tick_s + 1e-6) == pytest.approx(tick_s + 0.08)


@pytest.mark.parametrize("secret", [b"", b"fedcba9876543210"])
async def test_a_gateway_with_another_secret_is_refused(tmp_path: Path, secret: bytes) -> None:
    async with served(tmp_path, secret=SECRET) as (_, address):
        with pytest.raises(WorkerUnavailable, match="OFFHOOK_WORKER__SECRET"):
            await WorkerLink.connect(address, secret=secret)
        async with gateway(address, SECRET) as link:
            assert link.worker_id == "w0"


Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def impostor(path: Path, act: Act) -> AsyncIterator[WorkerAddress]:
    """Something that listens where a worker should, for one connection."""
    is_over = asyncio.Event()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await act(reader, writer)
            writer.close()
            await writer.wait_closed()
        is_over.set()

    async with await asyncio.start_unix_server(meet, path):
        yield WorkerAddress(path=str(path))
        await is_over.wait()


async def test_a_worker_that_does_not_know_the_secret_is_refused(tmp_path: Path) -> None:
    async def reflect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.Challenge(bytes(32)).encode())
        proof = await wire.read_message(reader)
        assert isinstance(proof, wire.Proof)
        writer.write(wire.Verdict(proof.mac).encode())
        await reader.read()

    async with impostor(tmp_path / "s", reflect) as address:
        with pytest.raises(WorkerUnavailable, match="not our worker"):
            await WorkerLink.connect(address, secret=SECRET)


async def test_something_else_that_listens_there_is_no_worker(tmp_path: Path) -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with impostor(tmp_path / "s", speak_http) as address:
        with pytest.raises(WorkerUnavailable, match="no worker at unix:"):
            await WorkerLink.connect(address)


async def test_nobody_there_and_tcp_without_a_secret(tmp_path: Path) -> None:
    with pytest.raises(WorkerUnavailable, match="no worker at unix:"):
        await WorkerLink.connect(WorkerAddress(path=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="OFFHOOK_WORKER__SECRET"):
        await WorkerLink.connect(WorkerAddress(host="127.0.0.1", port=1))


async def test_tcp_with_the_secret_works_like_a_unix_socket(tmp_path: Path) -> None:
    with WorkerAddress(host="127.0.0.1", port=0).listen() as free:
        address = WorkerAddress(host="127.0.0.1", port=free.getsockname()[1])
    async with served(tmp_path, 1, secret=SECRET, address=address), gateway(address, SECRET) as link:
        assert len(await converse(await link.claim("a", fencing=1, seed=0), 3)) == 3
        with pytest.raises(WorkerUnavailable, match="OFFHOOK_WORKER__SECRET"):
            await WorkerLink.connect(address, secret=SECRET[::-1])


async def test_a_claim_that_is_given_up_leaves_no_slot_behind(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (server, address), gateway(address) as link:
        for attempt in range(20):  # given up before, while, and after the worker answers
            claiming = asyncio.ensure_future(link.claim(f"call-{attempt}", fencing=1, seed=0))
            await asyncio.sleep(attempt * 0.0005)
            claiming.cancel()
            with contextlib.suppress(asyncio.CancelledError, ClaimRefused):
                await (await claiming).release()
        await eventually(lambda: not server.num_slots_used)
        assert link.num_slots_held == 0
        assert isinstance(await link.claim("last", fencing=1, seed=0), Slot)


async def test_the_same_claim_twice_at_once_is_refused_here(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as (_, address), gateway(address) as link:
        found = await asyncio.gather(
            *(link.claim("a", fencing=1, seed=0) for _ in range(2)), return_exceptions=True
        )
        assert [type(one) for one in found] == [Slot, ClaimRefused]


async def test_when_the_worker_goes_every_slot_and_claim_is_lost_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, 2) as (server, address), gateway(address) as link:
        slots = [await link.claim(name, fencing=1, seed=0) for name in "ab"]
        waiting = [asyncio.ensure_future(anext(slot.replies())) for slot in slots]
        await asyncio.sleep(0)
        began_s = time.monotonic()
        server.stop()
        for waiter in waiting:
            with pytest.raises(WorkerLost, match="w0"):
                await waiter
        assert time.monotonic() - began_s < 2.0
        with pytest.raises(WorkerLost):
            await slots[0].send(QUIET)
        with pytest.raises(WorkerLost):
            await link.claim("c", fencing=1, seed=0)
        assert link.lost is not None and link.num_slots_free == 0


async def test_a_worker_without_a_sign_of_life_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_link, "SILENCE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(worker_server, "STATS_PERIOD_S", 60.0)
    monkeypatch.setattr(worker_link, "PROBE_PERIOD_S", 60.0)
    async with served(tmp_path, 1) as (_, address), linked(address) as link:
        slot = await link.claim("a", fencing=1, seed=0)
        with pytest.raises(WorkerLost, match="no sign of life"):
            await anext(slot.replies())


async def test_the_heartbeat_tells_what_other_gateways_hold(tmp_path: Path) -> None:
    async with served(tmp_path, 3) as (_, address), gateway(address) as one, gateway(address) as other:
        await one.claim("a", fencing=1, seed=0)
        await eventually(lambda: other.stats is not None and other.stats.num_slots_used == 1)
        assert (one.num_slots_free, other.num_slots_free) == (2, 2)


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    async with served(tmp_path, 1) as (_, address):
        with pytest.raises(ZeroDivisionError):
            async with linked(address) as link:
                raise ZeroDivisionError
        assert link.lost is not None


async def test_a_large_batch_of_frames_in_one_turn_gets_through_whole(tmp_path: Path) -> None:
    num_slots = 160  # 600 kB: more than the system takes at once
    async with served(tmp_path, num_slots) as (_, address), gateway(address) as link:
        claims = [link.claim(f"call {number}", fencing=1, seed=0) for number in range(num_slots)]
        slots = await asyncio.gather(*claims)
        for slot in slots:
            await slot.send(QUIET)
        assert sum(slot.num_frames_dropped for slot in slots) == 0
        for slot in slots:
            reply = await anext(aiter(slot.replies()))
            assert reply.number == 0
