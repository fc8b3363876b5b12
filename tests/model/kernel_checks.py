"""The Triton kernels against plain torch; not collected by name, because Triton reads TRITON_INTERPRET once.

`test_kernels.py` runs this in a process of its own under the interpreter, `test_kernels_gpu.py` on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from model.attention import rotate
from model.kernels import add_rms_norm, depth_attention, int8_linear, ring_attention, rope_write, silu_mul
from model.kernels_ring import SPLIT_KEYS
from model.transformer import RmsNorm

IS_INTERPRETED = bool(triton.knobs.runtime.interpret)
pytestmark = [
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),  # Triton 3.9, compiled: of a later default
    pytest.mark.filterwarnings("ignore:All-NaN slice"),  # Triton 3.6 and 3.7's interpreter: of a spoilt row
]
assert IS_INTERPRETED or torch.cuda.is_available(), "set TRITON_INTERPRET=1 before Triton is imported"
DEVICE = torch.device("cpu" if IS_INTERPRETED else "cuda")

F8 = torch.float8_e4m3fn
RINGS = [torch.float32, torch.bfloat16, F8]
HEADS, DIM = 2, 64
TIGHT = (1e-5, 1e-5)  # relative, absolute
ONE_ULP = (2**-7, 1e-5)  # of bf16, where both sides round their own float32 result


TORCH_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8e4nv": F8}
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


def convert_like_a_gpu(array: Any, source: Any, target: Any, rounding_mode: Any) -> Any:
    """Bits of `source` floats -> bits of `target` floats, to nearest even, NaN kept."""
    bits = torch.from_numpy(np.array(array).view(f"i{array.itemsize}"))
    floats = bits.view(TORCH_TYPES[str(source)]).to(TORCH_TYPES[str(target)])
    return floats.view(BITS[floats.itemsize]).numpy().view(f"u{floats.itemsize}")


@pytest.fixture(autouse=True, scope="module")
def an_interpreter_that_rounds() -> Iterator[None]:
    """Mend the interpreter of Triton 3.6 to 3.9: it truncates to bf16, loses float8's carries and NaN, and
    its
    dot multiplies the bits of bf16 as integers."""
    if not IS_INTERPRETED:
        yield
        return
    from triton.runtime import interpreter

    def dot_of_floats(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        wide = [
            interpreter.TensorHandle(
                convert_like_a_gpu(x.data, x.dtype, triton.language.float32, None).view(np.float32),
                triton.language.float32,
            )
            for x in (a, b)
        ]
        return dot(builder, *wide, *rest)

    dot = interpreter.InterpreterBuilder.create_dot
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_convert_float", convert_like_a_gpu)
        patch.setattr(interpreter.InterpreterBuilder, "create_dot", dot_of_floats)
        yield


@pytest.fixture(autouse=True)
def seed_and_spoilt_workspace() -> Iterator[None]:
    """With deterministic algorithms `torch.empty` gives NaN; a GPU would refuse our formulas under them."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(IS_INTERPRETED)
    yield
    torch.use_deterministic_algorithms(False)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def ints(*values: int) -> Tensor:
    return torch.tensor(values, device=DEVICE)


def assert_near(got: Tensor, wanted: Tensor, tolerance: tuple[float, float]) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance[0], atol=tolerance[1])


def close(dtype: torch.dtype) -> tuple[float, float]:
    return ONE_ULP if dtype == torch.bfloat16 else TIGHT


def random_ring(rows: int, capacity: int, dtype: torch.dtype, dim: int = DIM) -> tuple[Tensor, Tensor | None]:
    ring = noise(rows, 2, HEADS, capacity, dim)
    if dtype != F8:
        return ring.to(dtype), None
    return (ring * 50).clamp(-448, 448).to(F8), torch.rand(
        rows, 2, HEADS, capacity, device=DEVICE
    ) / 20 + 0.01


def widen(ring: Tensor, scale: Tensor | None) -> Tensor:
    return ring.float() if scale is None else ring.float() * scale[..., None]


def positions(capacity: int, last: int, pinned: int) -> list[int]:
    """What position each entry holds, by the ring's definition; -1: nothing."""
    held = []
    for entry in range(capacity):
        if entry < pinned:
            held.append(entry if entry <= last else -1)
        else:
            position = last - ((last - pinned) - (entry - pinned)) % (capacity - pinned)
            held.append(position if position >= pinned else -1)
    return held


def attended(q: Tensor, q_pinned: Tensor, ring: Tensor, last: Tensor, pinned: Tensor) -> Tensor:
    """Plain attention over a widened ring, row by row: float32 [B, H, D]."""
    out = torch.zeros(q.shape, device=DEVICE)
    for row in range(len(q)):
        held = positions(ring.shape[3], int(last[row]), int(pinned[row]))
        entries = [entry for entry, position in enumerate(held) if position >= 0]
        if not entries:
            continue
        is_pinned = torch.tensor(entries, device=DEVICE) < pinned[row]
        keys, values = ring[row, 0][:, entries], ring[row, 1][:, entries]  # [H, n, D]
        rolling = torch.einsum("hd,hnd->hn", q[row].float(), keys)
        pinning = torch.einsum("hd,hnd->hn", q_pinned[row].float(), keys)
        score = torch.where(is_pinned, pinning, rolling) * q.shape[-1] ** -0.5
        out[row] = torch.einsum("hn,hnd->hd", score.softmax(-1), values)
    return out


def spoil(ring: Tensor, scale: Tensor | None, row: int, first: int) -> None:
    """NaN from entry `first` of a row on."""
    ring.view(torch.uint8)[row, :, :, first:] = 0xFF  # NaN in each of the three dtypes
    assert ring[row, :, :, first:].float().isnan().all()
    if scale is not None:
        scale[row, :, :, first:] = torch.nan


CASES = {
    "partial fill": (300, [0, 41, 250], [0, 0, 0]),
    "two splits, not a multiple of the tile": (300, [270, 298, 299], [0, 7, 255]),
    "wrapped": (300, [300, 5000, 777], [0, 13, 260]),
    "one row": (257, [255], [3]),
    "filled less than pinned": (40, [4, 9, 10], [10, 10, 10]),
    "one entry rolls": (40, [39, 40, 1000], [39, 39, 39]),
    "nothing held": (40, [-1, 5, -1], [0, 0, 4]),
}


@pytest.mark.parametrize("dtype", RINGS)
@pytest.mark.parametrize("case", CASES)
def test_attention_is_over_what_the_ring_holds(case: str, dtype: torch.dtype) -> None:
    capacity, lasts, pins = CASES[case]
    rows, last, pinned = len(lasts), ints(*lasts), ints(*pins)
    q, q_pinned = noise(rows, HEADS, DIM), noise(rows, HEADS, DIM)
    ring, scale = random_ring(rows, capacity, dtype)
    expected = attended(q, q_pinned, widen(ring, scale), last, pinned)
    for row in range(rows):
        spoil(ring, scale, row, min(lasts[row] + 1, capacity))
    out = ring_attention(q, q_pinned, ring, scale, last, pinned)
    assert out.dtype == q.dtype
    assert_near(out, expected, TIGHT)
    assert (out[last < 0] == 0).all()


@pytest.mark.parametrize("dim", [16, 128])
def test_heads_of_other_widths_and_queries_in_bf16(dim: int) -> None:
    q, q_pinned = noise(2, HEADS, dim, dtype=torch.bfloat16), noise(2, HEADS, dim, dtype=torch.bfloat16)
    ring, _ = random_ring(2, 300, torch.bfloat16, dim)
    last, pinned = ints(280, 1000), ints(0, 20)
    out = ring_attention(q, q_pinned, ring, None, last, pinned)
    expected = attended(q, q_pinned, ring.float(), last, pinned)
    assert out.dtype == torch.bfloat16
    assert_near(out.float(), expected, ONE_ULP)


def test_scores_far_apart_do_not_overflow() -> None:
    q = noise(1, HEADS, DIM) * 300
    ring, _ = random_ring(1, 300, torch.float32)
    last, pinned = ints(299), ints(0)
    out = ring_attention(q, q, ring, None, last, pinned)
    torch.testing.assert_close(out, attended(q, q, ring, last, pinned), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", RINGS)
def test_a_row_does_not_feel_its_neighbours(dtype: torch.dtype) -> None:
    q, q_pinned = noise(3, HEADS, DIM), noise(3, HEADS, DIM)
    ring, scale = random_ring(3, 300, dtype)
    last, pinned = ints(10, 290, 900), ints(0, 5, 40)
    alone = ring_attention(
        q[1:2], q_pinned[1:2], ring[1:2], None if scale is None else scale[1:2], last[1:2], pinned[1:2]
    )
    for row in (0, 2):
        spoil(ring, scale, row, 0)
        q[row] = torch.nan
    among = ring_attention(q, q_pinned, ring, scale, last, pinned)
    assert torch.equal(among[1], alone[0])
    assert among[0].isnan().all() and among[2].isnan().all()


def angles(position: Tensor) -> tuple[Tensor, Tensor]:
    frequency = 10000.0 ** (-torch.arange(DIM // 2, device=DEVICE) * 2 / DIM)
    angle = position.float()[:, None] * frequency
    return angle.cos(), angle.sin()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`model.attention.rotate` of one step: x float [B, H, D]."""
    return rotate(x[:, :, None], cos[:, None, None], sin[:, None, None])[:, :, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_is_rotated_and_written_where_rows_are_active(dtype: torch.dtype) -> None:
    qkv = noise(3, 3, HEADS, DIM, dtype=dtype)
    (cos, sin), (cos_pinned, sin_pinned) = angles(ints(0, 2999, 17)), angles(ints(5, 0, 12345))
    ring, _ = random_ring(3, 20, dtype)
    before, entry = ring.clone(), ints(19, -7, 0)
    active = torch.tensor([True, False, True], device=DEVICE)
    q, q_pinned = rope_write(qkv, cos, sin, cos_pinned, sin_pinned, entry, active, ring)
    assert q.dtype == q_pinned.dtype == dtype
    assert_near(q, turned(qkv[:, 0], cos, sin), close(dtype))
    assert_near(q_pinned, turned(qkv[:, 0], cos_pinned, sin_pinned), close(dtype))
    keys = turned(qkv[:, 1], cos, sin)
    for row, where in ((0, 19), (2, 0)):
        assert_near(ring[row, 0, :, where], keys[row], close(dtype))
        assert torch.equal(ring[row, 1, :, where], qkv[row, 2])
        before[row, :, :, where] = ring[row, :, :, where]
    assert torch.equal(ring, before), "nothing else is touched"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float8_holds_what_torch_would_with_a_scale_for_each_head(dtype: torch.dtype) -> None:
    qkv = noise(2, 3, HEADS, DIM, dtype=dtype)
    qkv[0, 2, 0] = 0  # a head of zeros
    qkv[0, 2, 1] *= 1e4
    cos, sin = angles(ints(3, 4))
    ring, scale = random_ring(2, 5, F8)
    assert scale is not None
    bytes_before, scale_before = ring.view(torch.uint8).clone(), scale.clone()
    active = torch.tensor([True, False], device=DEVICE)
    rope_write(qkv, cos, sin, cos, sin, ints(2, 2), active, ring, scale)
    wanted = torch.stack([turned(qkv[:, 1], cos, sin), qkv[:, 2]], dim=1)[0].float()  # [2, H, D]
    largest = wanted.abs().amax(-1)
    torch.testing.assert_close(scale[0, :, :, 2], largest.clamp(min=1e-12) / 448)
    got = widen(ring, scale)[0, :, :, 2]
    # e4m3 has three mantissa bits, so rounding moves a value by 1/16 of itself; below 2^-6 it is fixed point.
    bound = torch.maximum(wanted.abs() / 16, largest[..., None] / 448 * 2**-10) * (1 + 1e-5) + 1e-20
    assert ((got - wanted).abs() <= bound).all()
    quantised = (wanted / scale[0, :, :, 2, None]).clamp(-448, 448).to(F8)
    same = (ring[0, :, :, 2].view(torch.uint8) & 0x7F) == (quantised.view(torch.uint8) & 0x7F)
    assert same.float().mean() > 0.99, "a rotation's last bit may tip a tie"
    untouched = torch.ones_like(scale, dtype=torch.bool)
    untouched[0, :, :, 2] = False
    assert torch.equal(ring.view(torch.uint8)[untouched], bytes_before[untouched])
    assert torch.equal(scale[untouched], scale_before[untouched])


@pytest.mark.parametrize("dtype", RINGS)
def test_steps_through_the_wrap_are_attention_over_the_pinned_and_the_newest(dtype: torch.dtype) -> None:
    capacity, pins, steps = 6, [0, 2], 11
    ring = torch.full((2, 2, HEADS, capacity, DIM), torch.nan, device=DEVICE).to(dtype)
    scale = torch.full(ring.shape[:4], torch.nan, device=DEVICE) if dtype == F8 else None
    everyone = torch.ones(2, dtype=torch.bool, device=DEVICE)
    past: list[list[Tensor]] = [[], []]  # of each row: keys and values [2, H, D] of every position
    for step in range(steps):
        qkv, position = noise(2, 3, HEADS, DIM), ints(step, step)
        entry = ints(*(step if step < pin else pin + (step - pin) % (capacity - pin) for pin in pins))
        cos, sin = angles(position)
        cos_pinned, sin_pinned = angles(position.clamp(max=capacity - 1))
        q, q_pinned = rope_write(qkv, cos, sin, cos_pinned, sin_pinned, entry, everyone, ring, scale)
        out = ring_attention(q, q_pinned, ring, scale, position, ints(*pins))
        new = torch.stack([turned(qkv[:, 1], cos, sin), qkv[:, 2]], dim=1)
        q, q_pinned = turned(qkv[:, 0], cos, sin), turned(qkv[:, 0], cos_pinned, sin_pinned)
        for row, pin in enumerate(pins):
            past[row].append(new[row])
            first = past[row][:pin]
            newest = past[row][max(pin, step + 1 - (capacity - pin)) :]
            keys, values = torch.stack(first + newest, dim=2).unbind(0)  # [H, n, D]
            score = torch.einsum("hd,hnd->hn", q[row], keys)
            score[:, : len(first)] = torch.einsum("hd,hnd->hn", q_pinned[row], keys[:, : len(first)])
            mean = torch.einsum("hn,hnd->hd", (score / DIM**0.5).softmax(-1), values)
            # With float8, values are off by 1/16 at most and scores by 1/16 of |q k| / sqrt(D), of which a
            # few cancel: a tenth of the largest value is a bound with room, and a wrong key would be off by
            # one.
            tolerance = TIGHT if dtype == torch.float32 else (0.0, 0.02)
            if dtype == F8:
                tolerance = (0.0, 0.1 * float(values.abs().max()))
            assert_near(out[row], mean, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [64, 100])
def test_a_sum_is_rounded_then_normed(width: int, dtype: torch.dtype) -> None:
    x, residual = noise(3, width, dtype=dtype), noise(3, width, dtype=dtype) * 3
    norm = RmsNorm(width).to(DEVICE, dtype)
    with torch.no_grad():
        norm.alpha.copy_(noise(1, 1, width))
        normed, added = add_rms_norm(x, residual, norm.alpha)
        assert normed.dtype == dtype and torch.equal(added, x + residual)
        assert_near(normed, norm(x + residual), close(dtype))
        exact = (normed == norm(x + residual)).float().mean()
        assert dtype == torch.float32 or exact > 0.97, "the norm is of the rounded sum"
        normed, added = add_rms_norm(x, None, norm.alpha)
        assert added is x
        assert_near(normed, norm(x), close(dtype))
        zeros = torch.zeros_like(x)
        assert (add_rms_norm(zeros, None, norm.alpha)[0] == 0).all()


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's, of a gate of -100
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_half_is_the_gate(dtype: torch.dtype) -> None:
    x = noise(3, 2 * 1100, dtype=dtype) * 4
    x[0, :2] = torch.tensor([-100.0, 100.0])
    gate, value = x.float().chunk(2, dim=-1)
    y = silu_mul(x)
    assert y.dtype == dtype
    assert_near(y, (F.silu(gate) * value).to(dtype), close(dtype))


@pytest.mark.parametrize(("heads", "dim", "steps"), [(2, 64, 8), (3, 16, 16), (1, 24, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codebooks_see_themselves_and_those_before(
    heads: int, dim: int, steps: int, dtype: torch.dtype
) -> None:
    keys_values = torch.full((2, 2, heads, steps, dim), torch.nan, device=DEVICE, dtype=dtype)
    frames = noise(steps, 2, 3, heads, dim, dtype=dtype)
    for step in range(steps):
        out = depth_attention(frames[step], keys_values, step)
        assert torch.equal(keys_values[:, :, :, step], frames[step][:, 1:])
        assert keys_values[:, :, :, step + 1 :].isnan().all()
        q = frames[step][:, 0, :, None].float()
        keys, values = keys_values[:, :, :, : step + 1].float().unbind(1)
        expected = F.scaled_dot_product_attention(q, keys, values)[:, :, 0].flatten(1)
        assert out.shape == (2, heads * dim) and out.dtype == dtype
        assert_near(out.float(), expected, close(dtype))


@pytest.mark.parametrize(("rows", "inner", "outputs"), [(1, 64, 40), (17, 300, 33), (70, 128, 64)])
def test_int8_weights_are_those_they_stand_for(rows: int, inner: int, outputs: int) -> None:
    x = noise(rows, inner, dtype=torch.bfloat16)
    weight = torch.randint(-127, 128, (outputs, inner), device=DEVICE, dtype=torch.int8)
    scale = torch.rand(outputs, device=DEVICE) + 0.1
    y = int8_linear(x, weight, scale)
    expected = x.float() @ (weight.float() * scale[:, None] / 127).T
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=2**-7, atol=1e-3)
    x[1:] = torch.nan
    assert torch.equal(int8_linear(x, weight, scale)[0], y[0]), "a row does not feel its neighbours"


def test_what_the_kernels_cannot_do_is_refused() -> None:
    q, last = noise(1, HEADS, DIM), ints(3)
    ring, scale = random_ring(1, 8, F8)
    with pytest.raises(AssertionError, match="has scales"):
        ring_attention(q, q, ring, None, last, last)
    with pytest.raises(AssertionError, match="power of two"):
        ring_attention(noise(1, HEADS, 48), noise(1, HEADS, 48), ring, scale, last, last)
    long, _ = random_ring(1, 64 * SPLIT_KEYS + 1, torch.bfloat16, 16)
    with pytest.raises(AssertionError, match="longer than"):
        ring_attention(noise(1, HEADS, 16), noise(1, HEADS, 16), long, None, last, last)
