"""baresip calls us over each codec; both ends hear the other, and wideband stays wide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from telephony.resample import StreamResampler
from tests.loopback.baresip import CODECS, STEREO_OPUS, Heard, Network, baresip_call
from tests.loopback.conftest import AnswererProcess
from tests.signals import Pcm, assert_crossed, find_tone, fit_tone, speech_like, tone

pytestmark = pytest.mark.loopback
MODEL_HZ = 24_000


@pytest.fixture(scope="module")
def outside(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswererProcess]:
    """An answerer on a real network address, with an allow-list."""
    with AnswererProcess(tmp_path_factory.mktemp("answerer"), network.gateway, network.cidr) as process:
        yield process


def call(
    network: Network, outside: AnswererProcess, folder: Path, codec: str, said: Pcm
) -> tuple[Heard, Pcm]:
    """One call of 5 s to the echo: what baresip heard, and what reached the model."""
    uri = f"sip:echo@{network.gateway}:{outside.udp_port}"
    heard = baresip_call(network, folder, uri=uri, codec=codec, said=said, seconds=5)
    outside.wait("answered")
    ended = outside.wait("ended")
    assert ended["code"] == 200  # a BYE, no failure
    stats = outside.wait("stats")
    assert stats["codec"].startswith(codec), stats
    return heard, outside.sound(stats["call_id"])[0]


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_speech_crosses_both_ways(
    network: Network, outside: AnswererProcess, tmp_path: Path, codec: str
) -> None:
    rate = CODECS[codec][1]
    breath = np.zeros(rate // 2, np.float32)
    speech = speech_like(3.2, rate)
    heard, reached = call(network, outside, tmp_path, codec, np.concatenate([breath, speech, breath]))
    assert_crossed(StreamResampler(rate, MODEL_HZ).push(speech), reached, MODEL_HZ)
    assert_crossed(speech, heard.heard, rate)


def test_a_6_khz_tone_over_g722_reaches_the_model(
    network: Network, outside: AnswererProcess, tmp_path: Path
) -> None:
    said = tone(6_000, 6.0, 16_000, amplitude=0.2)
    _, reached = call(network, outside, tmp_path, "G722", said)
    middle = reached[2 * MODEL_HZ : 3 * MODEL_HZ]
    assert find_tone(middle, MODEL_HZ) == pytest.approx(6_000, abs=5)
    loss_db = 20 * np.log10(fit_tone(middle[:4_800], 6_000, MODEL_HZ).amplitude / 0.2)
    assert abs(loss_db) <= 3.0


def test_a_stereo_opus_sender_arrives_at_the_level_it_sends(
    network: Network, outside: AnswererProcess, tmp_path: Path
) -> None:
    said = tone(1_000, 6.0, 48_000, amplitude=0.2)
    heard, reached = call(network, outside, tmp_path, STEREO_OPUS, said)
    for sound, rate in ((reached, MODEL_HZ), (heard.heard, heard.rate)):
        middle = sound[2 * rate : 2 * rate + rate // 5]
        level_db = 20 * np.log10(fit_tone(middle, 1_000, rate).amplitude / 0.2)
        assert abs(level_db) <= 3.0, "two channels must not become one of double the level"
