"""Triton kernels without a past beyond one frame: norm, gate, attention over codebooks, linear layer of
int8 weights.

Sources: arXiv 1910.07467 (RMSNorm), arXiv 2002.05202 (gated units), arXiv 2410.00037 section 3.4.1 (the depth
transformer, which has no positions), arXiv 2208.07339 (int8 weights with a scale per output).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

SILU_BLOCK = 1024
INT8_MAX = 127.0
MAX_INT8_ROWS = (
    256  # beyond it the weights are reused enough that dequantising them once into a plain GEMM wins
)


@triton.jit
def _add_rms_norm_kernel(
    x: tl.tensor,
    residual: tl.tensor,
    alpha: tl.tensor,
    normed: tl.tensor,
    added: tl.tensor,
    epsilon: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
) -> None:
    """One row."""
    row = tl.program_id(0) * WIDTH
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    wide = tl.load(x + row + columns, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        wide += tl.load(residual + row + columns, mask=inside, other=0.0).to(tl.float32)
        rounded = wide.to(added.dtype.element_ty)
        tl.store(added + row + columns, rounded, mask=inside)
        wide = rounded.to(tl.float32)  # the norm sees what the next layer sees
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / WIDTH + epsilon)
    gain = tl.load(alpha + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + row + columns, (wide * scale * gain).to(normed.dtype.element_ty), mask=inside)


@triton.jit
def _silu_mul_kernel(x: tl.tensor, out: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr) -> None:
    """One block of one row."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    source = x + row * 2 * WIDTH + columns
    gate = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(source + WIDTH, mask=inside, other=0.0).to(tl.float32)
    y = gate * tl.sigmoid(gate) * value
    tl.store(out + row * WIDTH + columns, y.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["step"])
def _depth_attention_kernel(
    qkv: tl.tensor,
    keys_values: tl.tensor,
    out: tl.tensor,
    step: tl.tensor,
    softmax_scale: tl.tensor,
    HEADS: tl.constexpr,
    STEPS: tl.constexpr,
    STEPS_BLOCK: tl.constexpr,
    DIM: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
) -> None:
    """One row and head."""
    row = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    dims = tl.arange(0, DIM_BLOCK)
    inside = dims < DIM
    source = qkv + (row * 3 * HEADS + head) * DIM + dims
    q = tl.load(source, mask=inside, other=0.0).to(tl.float32) * softmax_scale
    k = tl.load(source + HEADS * DIM, mask=inside, other=0.0)
    v = tl.load(source + 2 * HEADS * DIM, mask=inside, other=0.0)
    keys = keys_values + (row * 2 * HEADS + head) * STEPS * DIM
    values = keys + HEADS * STEPS * DIM
    tl.store(keys + step * DIM + dims, k, mask=inside)
    tl.store(values + step * DIM + dims, v, mask=inside)

    # This codebook's key and value come from registers: what was just stored is not sure to be seen yet.
    steps = tl.arange(0, STEPS_BLOCK)
    is_now = (steps == step)[:, None]
    offsets = steps[:, None] * DIM + dims[None, :]
    is_past = (steps < step)[:, None] & inside[None, :]
    past_keys = tl.load(keys + offsets, mask=is_past, other=0.0)
    past_values = tl.load(values + offsets, mask=is_past, other=0.0)
    all_keys = tl.where(is_now, k[None, :], past_keys).to(tl.float32)
    all_values = tl.where(is_now, v[None, :], past_values).to(tl.float32)
    score = tl.where(steps <= step, tl.sum(all_keys * q[None, :], 1), float("-inf"))
    weight = tl.exp2(score - tl.max(score, 0))
    mean = tl.sum(weight[:, None] * all_values, 0) / tl.sum(weight, 0)
    tl.store(out + tl.program_id(0) * DIM + dims, mean.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _int8_linear_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    scale: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    N: tl.constexpr,
    K: tl.constexpr,
    LARGEST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """One tile of outputs. Axis 0 is rows, so programs that share weights run together and share the L2."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    is_row = (rows < num_rows)[:, None]
    is_column = (columns < N)[:, None]
    x_rows = x + rows[:, None] * K
    weight_rows = weight + columns[:, None].to(tl.int64) * K
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        depth = (start + inner)[None, :]
        a = tl.load(x_rows + depth, mask=is_row & (depth < K), other=0.0)
        w = tl.load(weight_rows + depth, mask=is_column & (depth < K), other=0)
        # Exact: bf16 holds every integer up to 256. By float32, because the interpreter has no int8 to bf16.
        total = tl.dot(a, tl.trans(w.to(tl.float32).to(a.dtype)), total, input_precision="ieee")
    gain = tl.load(scale + columns, mask=columns < N, other=0.0) / LARGEST
    target = out + rows[:, None] * N + columns[None, :]
    is_inside = is_row & (columns < N)[None, :]
    tl.store(target, (total * gain[None, :]).to(out.dtype.element_ty), mask=is_inside)


def add_rms_norm(
    x: Tensor, residual: Tensor | None, alpha: Tensor, eps: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """Add, then scale to unit mean square: (normed, sum), both [N, C] in x's dtype.

    x, residual: float [N, C]; alpha: float, C elements. The sum is rounded to x's dtype before it is
    normed, in float32, as `model.transformer.RmsNorm` would see it. Without a residual the sum is x itself,
    not a copy.
    """
    rows, width = x.shape
    assert x.is_contiguous() and alpha.is_contiguous() and alpha.numel() == width
    normed, added = torch.empty_like(x), x
    if residual is not None:
        assert residual.shape == x.shape and residual.dtype == x.dtype and residual.is_contiguous()
        added = torch.empty_like(x)
    block = triton.next_power_of_2(width)
    _add_rms_norm_kernel[(rows,)](
        x,
        x if residual is None else residual,
        alpha,
        normed,
        added,
        eps,
        WIDTH=width,
        BLOCK=block,
        HAS_RESIDUAL=residual is not None,
        num_warps=8 if block >= 4096 else 4,  # 16 elements a thread at the temporal width of 4096
    )
    return normed, added


def silu_mul(x: Tensor) -> Tensor:
    """SiLU of the first half times the second: float [N, 2 F] -> [N, F].

    In float32 with one rounding at the end, where `model.transformer.Gating` rounds twice.
    """
    rows, both = x.shape
    assert both % 2 == 0 and x.is_contiguous()
    out = x.new_empty(rows, both // 2)
    grid = (rows, triton.cdiv(both // 2, SILU_BLOCK))
    _silu_mul_kernel[grid](x, out, WIDTH=both // 2, BLOCK=SILU_BLOCK, num_warps=4)
    return out


def depth_attention(qkv: Tensor, keys_values: Tensor, step: int) -> Tensor:
    """Write codebook `step`'s key and value, and attend over codebooks 0 to `step`: float [B, H * D].

    qkv: float [B, 3, H, D]; keys_values: same dtype [B, 2, H, K, D], of which only 0 to `step` are read:
    nobody has to clear it between frames. Softmax of q k / sqrt(D) in float32.
    """
    batch, three, heads, dim = qkv.shape
    steps = keys_values.shape[3]
    assert three == 3 and keys_values.shape == (batch, 2, heads, steps, dim) and 0 <= step < steps
    assert qkv.is_contiguous() and keys_values.is_contiguous() and qkv.dtype == keys_values.dtype
    out = qkv.new_empty(batch, heads * dim)
    _depth_attention_kernel[(batch * heads,)](
        qkv,
        keys_values,
        out,
        step,
        math.log2(math.e) / math.sqrt(dim),
        HEADS=heads,
        STEPS=steps,
        STEPS_BLOCK=triton.next_power_of_2(steps),
        DIM=dim,
        DIM_BLOCK=triton.next_power_of_2(dim),
        num_warps=1,  # 16 codebooks of 64 are 32 elements a lane
    )
    return out


def int8_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x @ (weight * scale / 127).T, with weights that stay int8 in memory: [M, K] -> [M, N] in x's dtype.

    x: bf16 (fp16, float32) [M, K], M <= 256; weight: int8 [N, K]; scale: float32 [N], the largest magnitude
    of an output's weights. Tiles are widened in registers, sums are float32, the scale comes last. For a
    given M, a row's result does not depend on the others; another M may round differently.
    """
    (rows, inner), outputs = x.shape, weight.shape[0]
    assert rows <= MAX_INT8_ROWS and weight.shape == (outputs, inner) and weight.dtype == torch.int8
    assert scale.shape == (outputs,) and scale.dtype == torch.float32
    assert x.is_contiguous() and weight.is_contiguous() and scale.is_contiguous()
    out = x.new_empty(rows, outputs)
    block_m = min(max(triton.next_power_of_2(rows), 16), 64)
    # 32 outputs a program give 128 programs at 4096 outputs, about one for each SM; four stages of 8 KiB of
    # weights (4 KiB beside 64 rows, whose x needs the room) are the 30 KiB that must be in flight to stream
    # at full speed.
    block_n, block_k = 32, 128 if block_m == 64 else 256
    grid = (triton.cdiv(rows, block_m), triton.cdiv(outputs, block_n))
    _int8_linear_kernel[grid](
        x,
        weight,
        scale,
        out,
        rows,
        N=outputs,
        K=inner,
        LARGEST=INT8_MAX,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        BLOCK_K=block_k,
        num_warps=4,
        num_stages=4,
    )
    return out
