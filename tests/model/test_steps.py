"""The fused steps, run by Triton's interpreter, give what the plain modules give."""

import os
import subprocess
import sys

import pytest

CHECK = """
import torch
from dataclasses import replace
from model.attention import read_ring
from model.config import SamplingConfig
from model.generate import Generator
from model.steps import FusedSteps
from tests.model import tiny

torch.set_grad_enabled(False)
KV = {kv!r}
config = replace(
    tiny.WRITING_LM_CONFIG, context=7, num_heads=2, depformer_num_layers=1,
    n_q=5, dep_q=3, delays=(0, 0, 1, 1, 0, 1),
)
plain_lm, fused_lm = tiny.lm(config), tiny.lm(config)
rows, kv = 2, getattr(torch, KV)
plain = Generator(plain_lm, rows, SamplingConfig(), greedy=True, can_pin=True, kv_dtype=kv)
fused = Generator(
    fused_lm, rows, SamplingConfig(), greedy=True, can_pin=True, kv_dtype=kv, steps=FusedSteps(fused_lm, rows)
)
prompt, pending = tiny.noise(1, 3, config.dim), tiny.tokens(config.card, 7, 2)
for generator in (plain, fused):
    generator.prefill(1, prompt, pending)
    generator.controls.say(0, [4, 5, 6])
draw = torch.Generator().manual_seed(1)
worst, seen = 0.0, set()
for at in range(10):
    active = torch.rand(rows, generator=draw) < 0.85
    caller = tiny.tokens(config.card, rows, 2, seed=at)
    want, got = plain.step(caller, active), fused.step(caller, active)
    if KV == "float32":
        assert torch.equal(want.text, got.text), at
        assert torch.equal(want.frame, got.frame), at
    for layer in ("0", "1"):
        mine, theirs = (generator.state.child("transformer").child(layer) for generator in (fused, plain))
        held = [read_ring(side, None, torch.float32) for side in (mine, theirs)]
        for one, other in zip(*held, strict=True):
            apart = (one - other).abs()  # eight-bit values differ by a step where one rounds up, one down
            worst = max(worst, (apart.max() if KV == "float32" else apart.mean()).item())
    seen |= set(got.frame.flatten().tolist())
    fused._tokens["columns"].copy_(plain._tokens["columns"])  # nearly equal steps stay comparable
assert len(seen) > config.card // 8, seen
print("worst", worst)
assert worst < {limit}, worst
"""


@pytest.mark.parametrize(("kv", "limit"), [("float32", 1e-4), ("float8_e4m3fn", 0.1)])
def test_fused_steps_equal_the_plain_ones(kv: str, limit: float) -> None:
    """In a process of its own: Triton decides at import whether it interprets."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    code = CHECK.format(kv=kv, limit=limit)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
