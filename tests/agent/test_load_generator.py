"""Real calls of the generator: each hears its own agent, losses stay in their calls, callers may move."""

import pytest

from agent.bench_gateway import GatewayProcess
from agent.bench_impairment import Impairment
from agent.load_generator import Generator
from agent.load_speech import Program, programs

HOLD_S = 5.0
NUM_CALLS = 3


@pytest.fixture(scope="module")
def callers() -> tuple[Program, ...]:
    return programs(2, num_sentences=1)


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
def test_calls_over_a_bad_network_lose_what_it_takes_and_all_may_move(callers: tuple[Program, ...]) -> None:
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": str(NUM_CALLS),
        "OFFHOOK_WEBRTC__ENABLED": "false",
    }
    bad = Impairment(loss=0.1, burst=3)
    with GatewayProcess(settings) as gateway, Generator(gateway.address, callers, HOLD_S) as generator:
        for number in range(NUM_CALLS):
            generator.place(HOLD_S, bad if number == 1 else None, f"arm {number}", number % 2)
        generator.run(1.5)
        assert generator.num_talking == NUM_CALLS
        assert generator.move_to("127.0.0.3") == NUM_CALLS
        generator.run_until_over()
        ended = {call.arm: call for call in generator.take_ended()}
        assert generator.num_live == 0 and generator.num_dropped == 0
        gateway.wait_until_idle()
    assert len(ended) == NUM_CALLS
    for arm, call in ended.items():
        verdict = call.verdict
        assert not verdict.failure, verdict
        assert verdict.setup_s is not None and verdict.num_sent == pytest.approx(HOLD_S * 50, abs=25)
        expected = verdict.num_received + verdict.num_lost
        assert expected == pytest.approx(HOLD_S * 50, abs=50), "also what came to the new address"
        lost = verdict.num_lost / expected
        assert 0.02 < lost < 0.25 if arm == "arm 1" else lost < 0.01
        assert verdict.num_silent_seconds == 0 and (verdict.was_greeted or arm == "arm 1")
