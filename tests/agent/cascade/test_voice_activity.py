"""The network tells speech from silence and from a tone, whatever the chunks."""

import importlib.util

import numpy as np
import pytest

from agent.cascade.voice_activity import CHUNK_SAMPLES, RATE_HZ, VoiceActivity, network_file
from agent.errors import ConfigError
from model.channel import resample
from tests.agent.cascade.conftest import Say


def test_speech_is_likely_where_somebody_speaks_and_nowhere_else(say: Say) -> None:
    pcm = resample(say("can I get a large latte", before_s=1.0, after_s=1.0), 24_000, RATE_HZ)
    told = np.array(VoiceActivity().push(pcm))
    second = RATE_HZ // CHUNK_SAMPLES
    assert told[: second - 2].max() < 0.3 and told[-second // 2 :].max() < 0.3
    assert np.median(told[second + 2 : -second - 2]) > 0.8


def test_the_size_of_chunks_does_not_show(say: Say) -> None:
    pcm = resample(say("hello", before_s=0.2, after_s=0.2), 24_000, RATE_HZ)
    whole, parts = VoiceActivity().push(pcm), VoiceActivity()
    pieces = [value for at in range(0, len(pcm), 700) for value in parts.push(pcm[at : at + 700])]
    assert pieces == pytest.approx(whole, abs=1e-5)


def test_without_the_package_the_error_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"silero-vad.*deploy/setup\.sh cascade"):
        network_file()
