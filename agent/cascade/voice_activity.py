"""How likely it is that somebody speaks: silero-vad's network on onnxruntime, one verdict in 32 ms.

The network comes with the package silero-vad (MIT); its own code is not loaded, because that wants torch.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError

RATE_HZ = 16_000
CHUNK_SAMPLES = 512
CHUNK_S = CHUNK_SAMPLES / RATE_HZ
_CONTEXT_SAMPLES = 64  # of the chunk before, which the network sees again
_STATE_SHAPE = (2, 1, 128)
INSTALL = "run `deploy/setup.sh cascade`"


def network_file() -> Path:
    """Where the network lies. Raises ConfigError if the package is not installed."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ConfigError(
            f"the engine cascade needs the package silero-vad, which is not installed; {INSTALL}"
        )
    return Path(package.origin).parent / "data" / "silero_vad.onnx"


@cache
def _session() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"the engine cascade needs the package onnxruntime ({error}); {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(network_file()), options, providers=["CPUExecutionProvider"])


class VoiceActivity:
    """One call's stream; the weights are shared."""

    def __init__(self) -> None:
        self._session = _session()
        self._rate = np.array(RATE_HZ, np.int64)
        self._state = np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._rest = np.zeros(0, np.float32)

    def push(self, pcm: NDArray[np.float32]) -> list[float]:
        """Take float32 [T] at 16 kHz; the probability of speech in each chunk that is now whole."""
        sound = np.concatenate([self._rest, pcm])
        whole = len(sound) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._rest = sound[whole:]
        return [self._probability(chunk) for chunk in sound[:whole].reshape(-1, CHUNK_SAMPLES)]

    def _probability(self, chunk: NDArray[np.float32]) -> float:
        seen = np.concatenate([self._context, chunk])[None]
        self._context = chunk[-_CONTEXT_SAMPLES:]
        told, self._state = self._session.run(None, {"input": seen, "state": self._state, "sr": self._rate})
        return float(told[0, 0])
