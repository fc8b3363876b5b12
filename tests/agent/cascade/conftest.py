"""What the cascade's tests share: one loaded recogniser, spoken sentences, the order line's tokens."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.cascade.ear import Ear
from agent.energy_gate import Pcm
from agent.settings import CascadeSettings
from model.engine import BUILTIN
from model.tokenizer import TextTokenizer, load_text_tokenizer
from model.voices import SAMPLE_RATE_HZ, Voice, synthesize
from telephony.endpoint import FRAME_SAMPLES

CALLER = Voice("flite", "awb")
Say = Callable[..., Pcm]


@pytest.fixture(scope="session")
def ear() -> Ear:
    """An ear; reset it before use."""
    return Ear(CascadeSettings())


@pytest.fixture(scope="session")
def tokens() -> TextTokenizer:
    """The built-in model's tokenizer."""
    return load_text_tokenizer(BUILTIN)


@pytest.fixture(scope="session")
def say() -> Say:
    """A sentence with silence around it, float32 [T] at 24 kHz, a multiple of a frame."""

    def spoken(text: str, *, before_s: float = 0.4, after_s: float = 1.6) -> Pcm:
        before, after = (np.zeros(round(s * SAMPLE_RATE_HZ), np.float32) for s in (before_s, after_s))
        pcm = np.concatenate([before, 0.4 * synthesize(text, CALLER).pcm, after])
        return np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))

    return spoken
