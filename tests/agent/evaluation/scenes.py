"""Two-channel scenes with known truth: voiced stretches of a buzz, exact to the sample."""

import numpy as np

from agent.energy_gate import Pcm, Segment

RATE_HZ = 24_000


def channel(spans: list[tuple[float, float]], seconds: float, noise: float = 0.0) -> Pcm:
    """float32 [T]: a 150 Hz buzz at -20 dBFS inside the spans, white noise of an RMS everywhere."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pcm = np.random.default_rng(0).normal(0, noise, len(times)) if noise else np.zeros(len(times))
    buzz = 0.1 * np.sign(np.sin(2 * np.pi * 150 * times))
    for start_s, end_s in spans:
        pcm[(times >= start_s) & (times < end_s)] += buzz[(times >= start_s) & (times < end_s)]
    return pcm.astype(np.float32)


def spoken(*spans: tuple[float, float]) -> list[Segment]:
    """Segments as the gate would give them."""
    return [Segment(*span) for span in spans]
