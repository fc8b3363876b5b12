"""Counters of calls that leave, in a real Redis, shared by gateways."""

import asyncio

import pytest
from redis.asyncio import Redis

from agent import metrics
from agent import outbound_ledger as module
from agent.outbound import OutboundPolicy, OutboundRefused, OutboundSettings, Purpose, Refusal, Usage, Wish
from agent.outbound_ledger import Grant, OutboundLedger
from agent.redis_server import private_redis

pytestmark = pytest.mark.redis

WISH = Wish(Purpose.DIAL, "+4930123456")


def policy(**rules: object) -> OutboundPolicy:
    always = {"enabled": True, "host": "carrier.example", "prefixes": ("+4930",), "calls_per_minute": 100}
    return OutboundPolicy(OutboundSettings.model_validate({**always, **rules}))


async def refusals(ledgers: list[OutboundLedger], wish: Wish) -> list[Refusal]:
    """Ask all of them at once; why those were refused who were."""
    answers = await asyncio.gather(*(ledger.take(wish) for ledger in ledgers), return_exceptions=True)
    return [answer.refusal for answer in answers if isinstance(answer, OutboundRefused)]


async def test_gateways_share_lines_minutes_and_days() -> None:
    rules = policy(max_concurrent=3, max_duration_s=600, minutes_per_day=25)
    async with (
        private_redis() as server,
        OutboundLedger(server.url, rules) as one,
        OutboundLedger(server.url, rules) as other,
    ):
        first, second = await one.take(WISH), await other.take(WISH)
        third = await one.take(WISH)
        assert (first.max_s, second.max_s, third.max_s) == (600, 600, 300)  # what the day has left
        with pytest.raises(OutboundRefused, match="MAX_CONCURRENT"):
            await other.take(WISH)
        await one.give_back(third, 0)
        with pytest.raises(OutboundRefused) as refused:
            for _ in range(2):  # a line is free, and five minutes are left for one call
                assert (await other.take(WISH)).max_s == 300
        assert refused.value.refusal is Refusal.TOO_MANY
        await one.give_back(first, 60)
        await one.give_back(first, 60)  # once only
        assert await other.usage("default") == Usage(4, 2, 4, 960)


async def test_of_gateways_that_ask_at_once_no_more_than_allowed_get_a_line() -> None:
    rules = policy(max_concurrent=4)
    async with private_redis() as server:
        ledgers = [OutboundLedger(server.url, rules) for _ in range(5)]
        async with ledgers[0], ledgers[1], ledgers[2], ledgers[3], ledgers[4]:
            refused = await refusals(ledgers * 2, WISH)
            assert refused == [Refusal.TOO_MANY] * 6
            assert (await ledgers[0].usage("default")).live == 4


async def test_a_dead_gateways_line_is_free_and_a_live_ones_is_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.02)
    async with (
        private_redis() as server,
        OutboundLedger(server.url, policy(max_concurrent=1)) as ledger,
        Redis.from_url(server.url) as redis,
    ):
        await redis.zadd("offhook:outbound:default:live", {"of the dead": 1})
        grant = await ledger.take(WISH)
        await redis.zadd("offhook:outbound:default:live", {grant.grant_id: 1})
        async with asyncio.timeout(10):
            while not (await ledger.usage("default")).live:  # noqa: ASYNC110 - Redis tells no event
                await asyncio.sleep(0.02)
        assert await refusals([ledger], WISH) == [Refusal.TOO_MANY]


async def test_transfers_that_others_carry_hold_no_line() -> None:
    async with private_redis() as server, OutboundLedger(server.url, policy(targets=("sip:d@h",))) as ledger:
        grant = await ledger.take(Wish(Purpose.TRANSFER, "sip:d@h", holds_line=False))
        assert await ledger.usage("default") == Usage(1, 0, 1, 0)
        await ledger.give_back(grant, 5)
        assert await ledger.usage("default") == Usage(1, 0, 1, 0)


async def test_a_trunk_that_nobody_has_ruled_on_brings_no_fresh_figures() -> None:
    rules = policy(targets=("sip:d@h",), calls_per_minute=1)
    async with private_redis() as server, OutboundLedger(server.url, rules) as ledger:
        made_up = Wish(Purpose.TRANSFER, "sip:d@h", trunk="made-up")
        await ledger.give_back(await ledger.take(made_up), 60)
        assert await ledger.usage("default") == Usage(1, 0, 1, 60)
        another = Wish(Purpose.TRANSFER, "sip:d@h", trunk="made-up-too", holds_line=False)
        assert await refusals([ledger], another) == [Refusal.TOO_FAST]


async def test_the_minute_passes_and_days_forget() -> None:
    async with (
        private_redis() as server,
        OutboundLedger(server.url, policy(calls_per_minute=1)) as ledger,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        grant = await ledger.take(WISH)
        assert await refusals([ledger], WISH) == [Refusal.TOO_FAST]
        await redis.zincrby("offhook:outbound:default:recent", -60e6, grant.grant_id)
        await ledger.take(WISH)
        assert all([await redis.ttl(key) > 0 async for key in redis.scan_iter("offhook:outbound:*")])


async def test_who_goes_away_while_it_is_counted_costs_no_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.02)
    rules = policy()
    async with private_redis() as server, OutboundLedger(server.url, rules) as ledger:
        asking = asyncio.ensure_future(ledger.take(WISH))
        allot = rules.allot

        def allot_and_lose(wish: Wish, usage: Usage) -> float:
            asyncio.get_running_loop().call_soon(asking.cancel)  # when the last step has been sent
            return allot(wish, usage)

        monkeypatch.setattr(rules, "allot", allot_and_lose)
        with pytest.raises(asyncio.CancelledError):
            await asking
        monkeypatch.undo()
        assert (await ledger.usage("default")).calls_today == 1, "it was counted"
        async with asyncio.timeout(10):
            while (await ledger.usage("default")).seconds_today:  # noqa: ASYNC110 - Redis tells no event
                await asyncio.sleep(0.02)
        assert (await ledger.usage("default")).live == 0


async def test_what_was_counted_and_not_answered_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.02)
    async with private_redis() as server, OutboundLedger(server.url, policy()) as ledger:
        mine, lost = await ledger.take(WISH), await ledger.take(WISH)
        never = Grant("never counted", lost.wish, lost.route, lost.max_s, lost.day)
        ledger._doubtful = {one.grant_id: one for one in (ledger._held.pop(lost.grant_id), never)}
        async with asyncio.timeout(10):
            while ledger._doubtful:  # noqa: ASYNC110 - Redis tells no event
                await asyncio.sleep(0.02)
        assert await ledger.usage("default") == Usage(2, 1, 2, mine.max_s)


async def test_without_redis_no_call_leaves_and_none_is_counted_as_allowed() -> None:
    labels = {"purpose": "dial", "result": "allowed"}
    before = metrics.REGISTRY.get_sample_value("offhook_outbound_decisions_total", labels)
    async with OutboundLedger("unix:///nonexistent/redis.sock", policy()) as ledger:
        assert await refusals([ledger], WISH) == [Refusal.COUNTERS_AWAY]
        assert await refusals([ledger], Wish(Purpose.DIAL, "+1900")) == [Refusal.NOT_ALLOWED]
    assert metrics.REGISTRY.get_sample_value("offhook_outbound_decisions_total", labels) == before


async def test_a_redis_that_comes_back_is_told_what_was_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.02)
    async with private_redis() as server, OutboundLedger(server.url, policy()) as ledger:
        grant = await ledger.take(WISH)
        ledger._settling["other"] = (grant, 10.0)  # what another call's end left behind
        async with asyncio.timeout(10):
            while (await ledger.usage("default")).seconds_today != 10:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)
