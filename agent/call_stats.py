"""A call's network figures -> metrics: growth of the endpoint's counts, once a second and at the end."""

from agent import metrics
from agent.clock import Now
from agent.mos import mos
from telephony.endpoint import FRAME_SAMPLES, TICK_S, EndpointStats, MediaEndpoint

MIN_MOS_PACKETS = 50  # a second of sound; less says nothing about a line


class CallStats:
    """Turns one endpoint's counts into the gateway's counters."""

    def __init__(self, endpoint: MediaEndpoint, now: Now) -> None:
        self._endpoint = endpoint
        self._now = now
        self._before = EndpointStats()
        self._late_frames = 0  # whole frames' worth of sound that came too late
        self._heard_s = now()  # when a packet was last seen to have come

    @property
    def silent_s(self) -> float:
        """How long no packet has come from the caller, as far as `observe` saw."""
        return self._now() - self._heard_s

    def observe(self, late_samples: int, *, is_held: bool = False) -> None:
        """Add what grew since the last time; on hold nobody need send. `late_samples` playout lost so far."""
        stats, before = self._endpoint.stats(), self._before
        if is_held or stats.rx_packets > before.rx_packets:
            self._heard_s = self._now()
        metrics.RTP_PACKETS.labels("in").inc(max(0, stats.rx_packets - before.rx_packets))
        metrics.RTP_PACKETS.labels("out").inc(max(0, stats.tx_packets - before.tx_packets))
        metrics.RTP_LOST.labels("in").inc(max(0, stats.rx_lost - before.rx_lost))
        metrics.RTP_LOST.labels("out").inc(max(0, stats.tx_lost - before.tx_lost))
        metrics.PLAYOUT_UNDERRUNS.inc(max(0, stats.playout_underruns - before.playout_underruns))
        late_frames = late_samples // FRAME_SAMPLES
        metrics.PLAYOUT_DROPPED_FRAMES.inc(late_frames - self._late_frames)
        self._late_frames = late_frames
        if stats.rx_packets:
            metrics.RTP_JITTER_SECONDS.labels("in").observe(stats.rx_jitter_s)
        self._before = stats

    def finish(self, late_samples: int) -> float | None:
        """The call is over: its last figures and its score, None if too little was heard."""
        self.observe(late_samples)
        stats = self._before
        expected = stats.rx_packets + stats.rx_lost
        if expected < MIN_MOS_PACKETS:
            return None
        lost = min(1.0, (stats.rx_lost + stats.rx_discarded) / expected)
        one_way_s = stats.round_trip_s / 2 + stats.jitter_buffer_s + TICK_S
        score = mos(loss_ratio=lost, one_way_delay_s=one_way_s)
        metrics.MOS.observe(score)
        return score
