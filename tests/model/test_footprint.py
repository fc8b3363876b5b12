"""Memory of weights and calls, against the figures that are known of Moshi."""

import pytest
import torch

from model.footprint import call_bytes, num_parameters, weight_bytes
from model.presets import presets
from tests.model import tiny


def test_moshi_takes_what_it_is_known_to() -> None:
    config = presets()["moshiko"].config
    assert num_parameters(config)[0] == 7_687_729_152
    assert weight_bytes(config, 2) == pytest.approx(15.7e9, rel=0.01)
    # 512 KiB for each of 3000 steps, and 15.6 MiB of the codec's
    assert call_bytes(config, 2) == 3000 * 512 * 1024 + 4_096_000 * 4


def test_it_is_what_the_modules_hold() -> None:
    config = tiny.model_config(48)
    held = sum(tensor.numel() for tensor in tiny.lm(config.lm).state_dict().values())
    state = tiny.lm(config.lm).init_state(1)
    rings = sum(t.numel() for t in state.walk() if t.is_floating_point() and t.dtype == torch.float32)
    assert num_parameters(config)[0] == held
    windows = call_bytes(config, 4) - call_bytes(config, 0)
    assert windows == 4 * rings
