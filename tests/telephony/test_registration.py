"""Failover between servers, longer waits each round, and the way back to the best: on a clock of our own."""

import pytest

from telephony.registration import RegistrationCycle, RegistrationResult, result_of
from telephony.trunks import Registration

SETTINGS = Registration(expires_s=300, retry_s=10, max_retry_s=60, return_s=600)


def cycle(num_servers: int = 2, draw: float = 1.0) -> RegistrationCycle:
    return RegistrationCycle(SETTINGS, num_servers, lambda: draw)


def tried(made: RegistrationCycle, now_s: float) -> int | None:
    """The server that is due, and begun."""
    server = made.due(now_s)
    if server is not None:
        made.began(server)
    return server


def test_the_best_server_is_tried_at_once_and_refreshes_need_nothing() -> None:
    made = cycle()
    assert tried(made, 0) == 0
    assert made.due(100) is None, "one REGISTER at a time"
    made.on_answer(0, 200, 100)
    assert made.is_registered and made.server == 0
    made.on_answer(0, 200, 400)  # a refresh, by the library
    assert made.due(1e6) is None


def test_a_dead_server_is_left_for_the_next_at_once_and_tried_again_later() -> None:
    made = cycle()
    tried(made, 0)
    made.on_answer(0, 408, 32)
    assert tried(made, 32) == 1
    made.on_answer(1, 200, 33)
    assert made.server == 1
    assert made.due(632) is None and made.due(633) == 0, "the better one, after return_s"
    tried(made, 633)
    made.on_answer(0, 503, 640)
    assert made.server == 1, "the one that works is kept while the better one does not"
    assert tried(made, 1240) == 0
    made.on_answer(0, 200, 1241)
    assert made.server == 0 and made.due(1e6) is None
    made.on_answer(1, 408, 1242)  # the old one's unregistration, late
    assert made.server == 0


def test_a_refresh_that_fails_moves_on() -> None:
    made = cycle()
    tried(made, 0)
    made.on_answer(0, 200, 1)
    made.on_answer(0, 503, 260)
    assert not made.is_registered and made.due(260) == 1


def test_waits_double_with_each_round_up_to_the_most_and_are_spread() -> None:
    made, now_s, waits = cycle(), 0.0, []
    for _ in range(5):
        for server in (0, 1):
            while made.due(now_s) is None:
                now_s += 0.5
            waits.append(now_s)
            assert tried(made, now_s) == server
            made.on_answer(server, 503, now_s)
    rounds = [b - a for a, b in zip(waits[::2], waits[2::2], strict=False)]
    assert rounds == [10, 20, 40, 60]
    early = cycle(1, draw=0.0)
    tried(early, 0)
    early.on_answer(0, 503, 0)
    assert early.due(4.9) is None and early.due(5) == 0


@pytest.mark.parametrize("code", [401, 403, 407])
def test_a_wrong_secret_is_not_tried_again_in_haste(code: int) -> None:
    made = cycle()
    tried(made, 0)
    made.on_answer(0, code, 0)
    assert made.due(29.9) is None and made.due(30) == 1


def test_a_single_server_is_given_the_time_that_it_asks_for() -> None:
    made = cycle(1)
    tried(made, 0)
    made.on_answer(0, 503, 0, retry_after_s=45)
    assert made.due(44.9) is None and made.due(45) == 0
    tried(made, 45)
    made.on_answer(0, 503, 45, retry_after_s=10**6)
    assert made.due(45 + 3600) == 0, "but not for ever"


def test_silence_and_refusal_are_told_apart() -> None:
    assert result_of(200) is RegistrationResult.OK
    assert {result_of(code) for code in (0, 171, 408, 502, 503, 504)} == {RegistrationResult.UNREACHABLE}
    assert {result_of(code) for code in (401, 403, 404, 486, 500)} == {RegistrationResult.REFUSED}
