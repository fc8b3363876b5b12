import pytest

from telephony.call_limits import KEPT_RATES, CallCap, CallLimiter, CallLimitSettings
from telephony.errors import SettingsError


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_live_calls_of_a_name_are_capped_and_a_refusal_takes_nothing() -> None:
    limiter = CallLimiter()
    line, source = CallCap("line:order", max_calls=2), CallCap("source:192.0.2.7", max_calls=5)
    assert limiter.enter("a", [line, source]) is None
    assert limiter.enter("b", [line, source]) is None
    assert limiter.enter("c", [source, line]) is line
    assert limiter.num_live(source.name) == 2, "the refused call is not counted where there was room"
    limiter.leave("c")
    assert limiter.num_live(line.name) == 2, "it had never entered"
    limiter.leave("a")
    limiter.leave("a")
    assert limiter.enter("d", [line, source]) is None
    assert limiter.num_live(line.name) == 2


def test_new_calls_of_a_name_come_at_its_rate_after_a_burst() -> None:
    clock = Clock()
    limiter = CallLimiter(clock)
    cap = CallCap("source:192.0.2.7", calls_per_s=0.5)
    begun = [limiter.enter(f"early {n}", [cap]) is None for n in range(8)]
    assert begun == [True] * 5 + [False] * 3, "ten seconds' worth at once"
    clock.now_s += 2.0
    assert limiter.enter("late", [cap]) is None
    assert limiter.enter("too soon", [cap]) is cap
    assert limiter.enter("another", [CallCap("source:192.0.2.8", calls_per_s=0.5)]) is None


def test_a_sweep_of_names_takes_bounded_memory() -> None:
    limiter = CallLimiter(Clock())
    for number in range(KEPT_RATES + 50):
        limiter.enter(str(number), [CallCap(f"source:{number}", calls_per_s=1)])
        limiter.leave(str(number))
    assert (len(limiter._rates), len(limiter._live), len(limiter._names)) == (KEPT_RATES, 0, 0)


def test_negative_limits_are_refused() -> None:
    with pytest.raises(SettingsError, match="calls_per_line"):
        CallLimitSettings(calls_per_line=-1)
