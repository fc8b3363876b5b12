"""The agent's voice comes back as late and as loud as the echo says."""

import numpy as np
import pytest

from model.echo import DELAY_MS, RETURN_DB, Echo, draw_echo, echo_of

RATE_HZ = 24_000
SAID = np.random.default_rng(0).normal(0, 0.05, 2 * RATE_HZ).astype(np.float32)


@pytest.mark.parametrize(("delay_ms", "return_db"), [(40.0, -12.0), (130.0, -25.0), (250.0, -40.0)])
def test_delay_and_return_are_as_asked(delay_ms: float, return_db: float) -> None:
    back = echo_of(SAID, Echo(delay_ms, return_db, room=3))
    assert back.shape == SAID.shape
    late = round(delay_ms * RATE_HZ / 1000)
    assert not back[:late].any()
    ratio_db = 10 * np.log10(np.square(back[late:]).mean() / np.square(SAID[: len(SAID) - late]).mean())
    assert ratio_db == pytest.approx(return_db, abs=0.2)
    spectrum = np.fft.rfft(back, 2 * len(back)) * np.conj(np.fft.rfft(SAID, 2 * len(SAID)))
    correlation = np.fft.irfft(spectrum)[: RATE_HZ // 2]
    assert abs(int(np.argmax(np.abs(correlation))) - late) <= 0.004 * RATE_HZ


def test_a_silent_agent_has_no_echo() -> None:
    assert not echo_of(np.zeros(4800, np.float32), Echo(50.0, -12.0, 0)).any()
    assert not echo_of(SAID[:100], Echo(50.0, -12.0, 0)).any(), "it comes back later than this"


def test_drawn_echoes_are_in_range() -> None:
    rng = np.random.default_rng(0)
    echoes = [draw_echo(rng, num_rooms=8) for _ in range(200)]
    assert all(DELAY_MS[0] <= e.delay_ms <= DELAY_MS[1] for e in echoes)
    assert all(RETURN_DB[0] <= e.return_db <= RETURN_DB[1] for e in echoes)
    assert {e.room for e in echoes} == set(range(8))
