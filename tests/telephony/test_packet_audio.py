"""Opus in and out: the jitter buffer on arrival times of our choosing, and the port on the real clock."""

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import offhook_pjsua2 as pj
import pytest

from telephony.endpoint import FRAME_SAMPLES, TICK_S, TICK_SAMPLES, HeardFrame, path_samples
from telephony.packet_audio import RTP_PER_TICK, PacketAudio, PacketCounts, PacketPool
from telephony.sip_media import AudioPool
from telephony.sip_thread import SipThread
from tests.signals import Pcm, find_tone, fit_tone, lag_samples, tone
from tests.telephony.test_sip_thread import SETTINGS, NoWork

BASE_S = 0.01  # every packet's least way
RATE = 24_000


class Ports(NoWork):
    """A library with two packet ports and the clock."""

    def __init__(self) -> None:
        self.thread: SipThread | None = None

    def open(self) -> None:
        self.packets = PacketPool(2)
        self.audio = AudioPool(1)  # kept: the bridge calls into its ports
        self.clock = self.audio.clock


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    work = Ports()
    work.thread = SipThread(SETTINGS, work, num_packet_ports=2)
    work.thread.start()
    yield work
    work.thread.stop()


@dataclass(slots=True)
class Heard:
    """What came out of a jitter buffer, tick by tick."""

    pcm: Pcm
    delays_ms: list[float] = field(default_factory=list)
    counts: PacketCounts = field(default_factory=PacketCounts)


def through(
    ports: Ports,
    sound: Pcm,
    delay_s: Callable[[int], float | None] = lambda number: 0.0,
    *,
    expected_loss: int = 0,
) -> Heard:
    """Code `sound`, deliver packet n after `delay_s(n)` more than it must take (None: never), and listen."""
    assert ports.thread is not None
    speaker, listener = pj.OpusSpeaker(), pj.OpusListener()
    speaker.expectLoss(expected_loss)
    ports.thread.submit(listener.open).result(5)
    ticks = sound.reshape(-1, TICK_SAMPLES)
    packets = [speaker.encodeTick(np.ascontiguousarray(tick)) for tick in ticks]
    waits = [delay_s(number) for number in range(len(ticks))]
    arrivals = sorted((n * TICK_S + BASE_S + wait, n) for n, wait in enumerate(waits) if wait is not None)
    heard, delays = np.zeros_like(ticks), []
    for number in range(len(ticks)):
        while arrivals and arrivals[0][0] <= number * TICK_S + BASE_S / 2 + TICK_S / 2:
            _, packet = arrivals.pop(0)
            listener.putPacket((packet * RTP_PER_TICK - 5_000) & 0xFFFFFFFF, packets[packet])
        listener.pullTick(heard[number])
        delays.append(listener.counters()[4] / 1e3)
    late, malformed, concealed, repaired, delay_us = listener.counters()
    counts = PacketCounts(late, malformed, concealed, repaired, delay_us=delay_us)
    return Heard(heard.reshape(-1), delays, counts)


def hum(seconds: float) -> Pcm:
    """A voice's harmonics of 150 Hz: what a codec for speech knows how to go on with, unlike a bare tone."""
    parts = [tone(150 * number, seconds, RATE, 1 / number) for number in range(1, 15)]
    return np.asarray(0.1 * np.sum(parts, axis=0), np.float32)


def test_sound_comes_through_at_its_level_one_packet_late(ports: Ports) -> None:
    sound = tone(440, 3, RATE, 0.3)
    heard = through(ports, sound)
    assert (heard.counts.late, heard.counts.concealed) == (0, 0)
    assert fit_tone(heard.pcm[RATE:], 440, RATE).amplitude == pytest.approx(0.3, abs=0.02)
    assert heard.delays_ms[-1] == pytest.approx(20, abs=1)


def test_the_codecs_own_delay_is_what_the_path_says(ports: Ports) -> None:
    clicks = np.zeros(RATE * 2, np.float32)
    clicks[::6_000] = 0.9
    heard = through(ports, clicks).pcm
    lag = lag_samples(heard, clicks, 2_000)
    assert lag % TICK_SAMPLES == pytest.approx(path_samples("opus/48000"), abs=2)
    assert pj.OpusSpeaker().lookahead() == path_samples("opus/48000")


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_lost_packets_are_concealed_and_cost_no_delay(ports: Ports, loss: float) -> None:
    lucky = np.random.default_rng(1).random(500) >= loss
    heard = through(ports, hum(10), lambda n: 0.0 if lucky[n] else None)
    num_lost = 500 - int(lucky.sum())
    assert 0 < num_lost and abs(heard.counts.concealed - num_lost) <= 1
    assert max(heard.delays_ms) <= 21
    level = np.sqrt(np.mean(np.square(heard.pcm[RATE:].reshape(-1, TICK_SAMPLES)), axis=1))
    assert level.min() > 0.25 * np.median(level)  # no holes


def test_delay_follows_jitter_and_comes_back_within_five_seconds(ports: Ports) -> None:
    waits = np.random.default_rng(2).uniform(0, 0.06, 500)
    heard = through(ports, tone(300, 15, RATE, 0.3), lambda n: waits[n] if n < 500 else 0.0)
    assert 50 <= np.median(heard.delays_ms[250:500]) <= 120
    assert heard.counts.concealed + heard.counts.late <= 0.05 * 750
    assert max(heard.delays_ms[-1:]) <= 45, "5 s after the jitter ended"


def test_a_burst_is_played_late_and_caught_up(ports: Ports) -> None:
    def stall(number: int) -> float:
        return 0.2 - (number - 250) * TICK_S if 250 <= number < 260 else 0.0

    heard = through(ports, tone(300, 10.2, RATE, 0.3), stall)
    assert max(heard.delays_ms) > 60
    assert heard.delays_ms[510 - 1] <= 45, "5 s later"


def test_after_a_long_stall_what_is_too_old_is_skipped(ports: Ports) -> None:
    def stall(number: int) -> float:
        return 1.0 - (number - 250) * TICK_S if 250 <= number < 300 else 0.0

    heard = through(ports, tone(300, 11.0, RATE, 0.3), stall)
    assert heard.counts.late >= 30 and max(heard.delays_ms) <= 201
    assert heard.delays_ms[550 - 1] <= 45, "5 s later"


def test_redundancy_repairs_a_loss_when_the_next_packet_is_there(ports: Ports) -> None:
    lucky = np.random.default_rng(3).random(500) >= 0.1
    late = np.random.default_rng(4).uniform(0, 0.04, 500)
    sound = tone(300, 10, RATE, 0.3)
    heard = through(ports, sound, lambda n: late[n] if lucky[n] else None, expected_loss=20)
    assert heard.counts.repaired > 10


def test_a_sender_that_begins_anew_is_followed(ports: Ports) -> None:
    assert ports.thread is not None
    speaker, listener = pj.OpusSpeaker(), pj.OpusListener()
    ports.thread.submit(listener.open).result(5)
    out, sound = np.zeros(TICK_SAMPLES, np.float32), tone(300, 1, RATE, 0.3)
    for start in (0, 2**31, 77):
        for number, tick in enumerate(sound.reshape(-1, TICK_SAMPLES)):
            listener.putPacket((start + number * RTP_PER_TICK) & 0xFFFFFFFF, speaker.encodeTick(tick))
            listener.pullTick(out)
        assert np.abs(out).max() > 0.2
    for rubbish in (b"", b"\xff", bytes(1_501)):
        listener.putPacket(0, rubbish)
    assert listener.counters()[1] >= 2
    with pytest.raises(ValueError, match="480 samples"):
        listener.pullTick(np.zeros(3, np.float32))


def wait_ticks(ports: Ports, count: int) -> None:
    """Let this many ticks pass."""
    until = ports.clock.tick() + count
    while ports.clock.tick() < until:
        assert select.select([ports.clock.fd()], [], [], 5)[0], "the clock has stopped"
        os.eventfd_read(ports.clock.fd())


def drain(audio: PacketAudio) -> list[tuple[int, bytes]]:
    """All packets that wait to be sent."""
    taken = []
    while (packet := audio.take()) is not None:
        taken.append(packet)
    return taken


@pytest.fixture
def audio(ports: Ports) -> Iterator[PacketAudio]:
    lent = ports.packets.lend()
    assert lent is not None
    lent.port.start()
    yield lent
    ports.packets.give_back(lent)


def test_a_port_sends_one_packet_a_tick_and_hears_what_it_is_given(ports: Ports, audio: PacketAudio) -> None:
    audio.set_bound(4 * FRAME_SAMPLES)
    audio.write(tone(500, 0.32, RATE, 0.4))
    frames: list[HeardFrame] = []
    deadline_s = time.monotonic() + 5
    ticks: list[int] = []
    while len(frames) < 6 and time.monotonic() < deadline_s:
        wait_ticks(ports, 1)
        for tick, payload in drain(audio):
            ticks.append(tick)
            assert audio.put(tick * RTP_PER_TICK, payload)  # the network is a mirror
        while (frame := audio.read(0)) is not None:
            frames.append(frame)
    heard = np.concatenate([frame.pcm for frame in frames])
    played = np.concatenate([frame.played for frame in frames])
    assert np.abs(played).max() == pytest.approx(0.4, abs=0.01)
    assert find_tone(heard, RATE) == pytest.approx(500, abs=2)
    assert np.abs(heard).max() > 0.3
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    assert audio.packet_counts().unsent == 0


def test_a_reader_that_is_late_loses_packets_but_no_memory(ports: Ports, audio: PacketAudio) -> None:
    wait_ticks(ports, 22)
    assert len(drain(audio)) == 16
    assert audio.packet_counts().unsent >= 5
    assert sum(audio.put(number, b"x") for number in range(200)) <= 128
    assert audio.packet_counts().refused >= 72


def test_every_port_is_lent_once(ports: Ports) -> None:
    lent = [ports.packets.lend() for _ in range(3)]
    assert lent[2] is None and ports.packets.num_free == 0
    for audio in lent[:2]:
        assert audio is not None
        ports.packets.give_back(audio)
