"""Triton kernels of the temporal attention: rotate and write one step, then attend over what the ring holds.

Sources: arXiv 2104.09864 (rotary positions, interleaved pairs), arXiv 2205.14135 (online softmax), its
split of one query's keys over programs ("Flash-Decoding", Stanford CRFM, 2023), arXiv 2309.17453
(StreamingLLM: first entries pinned, seen at a distance of their own).

The ring, float [B, 2, H, C, D], holds keys at 0 and values at 1. With P pinned entries, entry e < P holds
position e; entry e >= P holds the newest position that equals e modulo C - P and is at least P. So after
`last` was written, the entries that hold something are exactly the first min(last + 1, C), whatever P is,
and all of them are inside the window: no kernel here has to work out positions.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

# One program's keys. At 3000 steps it makes 12 splits: one call's 32 heads give 384 programs, 2.9 for each
# of an H200's 132 SMs, so the last wave is nearly full (512 keys would give 192: 60 SMs with two and 72
# with one). At 64 calls there are 24,576 programs of 128 KiB (bf16, D = 128), long enough to hide their
# launch, and the float32 workspace is 0.8 % of the ring's bytes.
SPLIT_KEYS = 256
MAX_SPLITS = 64  # the second kernel holds all of a head's splits in registers
# One load of keys, with one of values beside it. At D = 128 it is 32 elements a thread with 4 warps (bf16)
# or 8 (fp8): 80 registers (compiled for sm_90), so six or three programs fit an SM and have 96 or 48 KiB in
# flight; an H200 needs 30.
TILE_BYTES = 8192

FLOAT8_MAX = 448.0  # float8_e4m3fn
AMAX_FLOOR = 1e-12  # so that a head of zeros has a scale to be divided by
LOG2_E = math.log2(math.e)  # exp2 is the GPU's own instruction

RING_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)


@triton.jit
def _rope_write_kernel(
    qkv: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    cos_pinned: tl.tensor,
    sin_pinned: tl.tensor,
    entry: tl.tensor,
    active: tl.tensor,
    ring: tl.tensor,
    scale: tl.tensor,
    q_out: tl.tensor,
    q_pinned_out: tl.tensor,
    HEADS: tl.constexpr,
    CAPACITY: tl.constexpr,
    DIM: tl.constexpr,
    SCALED: tl.constexpr,
    LARGEST: tl.constexpr,
    FLOOR: tl.constexpr,
) -> None:
    """One row and head of one step."""
    row = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    pair = tl.arange(0, DIM // 2)
    even = 2 * pair
    odd = even + 1
    angle = row * (DIM // 2) + pair
    dtype = qkv.dtype.element_ty

    source = qkv + (row * 3 * HEADS + head) * DIM
    q_even = tl.load(source + even).to(tl.float32)
    q_odd = tl.load(source + odd).to(tl.float32)
    c = tl.load(cos + angle)
    s = tl.load(sin + angle)
    target = tl.program_id(0) * DIM
    tl.store(q_out + target + even, (q_even * c - q_odd * s).to(dtype))
    tl.store(q_out + target + odd, (q_even * s + q_odd * c).to(dtype))
    c_pinned = tl.load(cos_pinned + angle)
    s_pinned = tl.load(sin_pinned + angle)
    tl.store(q_pinned_out + target + even, (q_even * c_pinned - q_odd * s_pinned).to(dtype))
    tl.store(q_pinned_out + target + odd, (q_even * s_pinned + q_odd * c_pinned).to(dtype))

    if tl.load(active + row) != 0:
        k_even = tl.load(source + HEADS * DIM + even).to(tl.float32)
        k_odd = tl.load(source + HEADS * DIM + odd).to(tl.float32)
        # Through the model's dtype first: the ring holds what an unfused step would have written.
        even_turned = (k_even * c - k_odd * s).to(dtype).to(tl.float32)
        odd_turned = (k_even * s + k_odd * c).to(dtype).to(tl.float32)
        dims = tl.arange(0, DIM)
        v = tl.load(source + 2 * HEADS * DIM + dims).to(tl.float32)
        # int64: a ring of 128 calls has more than 2^31 elements.
        key_slot = (row.to(tl.int64) * 2 * HEADS + head) * CAPACITY + tl.load(entry + row)
        value_slot = key_slot + HEADS * CAPACITY
        if SCALED:
            largest = tl.maximum(tl.max(tl.abs(even_turned), 0), tl.max(tl.abs(odd_turned), 0))
            k_scale = tl.maximum(largest, FLOOR) / LARGEST
            v_scale = tl.maximum(tl.max(tl.abs(v), 0), FLOOR) / LARGEST
            tl.store(scale + key_slot, k_scale)
            tl.store(scale + value_slot, v_scale)
            # Correctly rounded, or the largest value could land above 448; the clamp is for its last bit.
            even_turned = tl.clamp(tl.div_rn(even_turned, k_scale), -LARGEST, LARGEST)
            odd_turned = tl.clamp(tl.div_rn(odd_turned, k_scale), -LARGEST, LARGEST)
            v = tl.clamp(tl.div_rn(v, v_scale), -LARGEST, LARGEST)
        held = ring.dtype.element_ty
        tl.store(ring + key_slot * DIM + even, even_turned.to(held))
        tl.store(ring + key_slot * DIM + odd, odd_turned.to(held))
        tl.store(ring + value_slot * DIM + dims, v.to(held))


@triton.jit
def _meet_keys(
    top: tl.tensor,
    weight: tl.tensor,
    total: tl.tensor,
    query: tl.tensor,
    ring: tl.tensor,
    scale: tl.tensor,
    begin: tl.tensor,
    end: tl.tensor,
    HEADS: tl.constexpr,
    CAPACITY: tl.constexpr,
    DIM: tl.constexpr,
    TILE: tl.constexpr,
    SCALED: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The lanes' softmax after entries `begin` to `end` of one head, whose first `ring`, `scale` point at."""
    lanes = tl.arange(0, TILE)
    dims = tl.arange(0, DIM)
    for start in range(begin, end, TILE):
        entries = start + lanes
        is_held = entries < end
        offsets = entries[:, None] * DIM + dims[None, :]
        k = tl.load(ring + offsets, mask=is_held[:, None], other=0.0)
        v = tl.load(ring + HEADS * CAPACITY * DIM + offsets, mask=is_held[:, None], other=0.0)
        score = tl.sum(query[None, :] * k.to(tl.float32), 1)
        if SCALED:  # once per key instead of once per element
            score *= tl.load(scale + entries, mask=is_held, other=0.0)
        score = tl.where(is_held, score, float("-inf"))
        new_top = tl.maximum(top, score)
        kept = tl.exp2(top - new_top)
        gained = tl.exp2(score - new_top)
        weight = weight * kept + gained
        if SCALED:
            gained *= tl.load(scale + HEADS * CAPACITY + entries, mask=is_held, other=0.0)
        total = total * kept[:, None] + gained[:, None] * v.to(tl.float32)
        top = new_top
    return top, weight, total


@triton.jit
def _attend_split_kernel(
    q: tl.tensor,
    q_pinned: tl.tensor,
    ring: tl.tensor,
    scale: tl.tensor,
    last: tl.tensor,
    pinned: tl.tensor,
    part_sum: tl.tensor,
    part_weight: tl.tensor,
    part_top: tl.tensor,
    softmax_scale: tl.tensor,
    HEADS: tl.constexpr,
    CAPACITY: tl.constexpr,
    DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    TILE: tl.constexpr,
    SCALED: tl.constexpr,
) -> None:
    """One row, head and split: its unnormalised sum of values, its weight, the score both are relative to."""
    head_row = tl.program_id(0)
    split = tl.program_id(1)
    row = head_row // HEADS
    filled = tl.minimum(tl.load(last + row) + 1, CAPACITY).to(tl.int32)
    begin = split * SPLIT
    if begin >= filled:
        return  # nothing is loaded and nothing stored; the second kernel does not read this split
    end = tl.minimum(begin + SPLIT, filled)
    num_pinned = tl.load(pinned + row).to(tl.int32)

    slots = (row.to(tl.int64) * 2 * HEADS + head_row % HEADS) * CAPACITY  # int64: as in _rope_write_kernel
    dims = tl.arange(0, DIM)
    q_rolling = tl.load(q + head_row * DIM + dims).to(tl.float32) * softmax_scale
    q_pinning = tl.load(q_pinned + head_row * DIM + dims).to(tl.float32) * softmax_scale
    # Each lane keeps a softmax of its own over the keys it meets, so the loops have no reduction across
    # lanes and no barrier; they are brought together once, below. The first top is low but finite: -inf
    # less -inf is NaN.
    top = tl.full([TILE], -1e30, tl.float32)
    weight = tl.zeros([TILE], tl.float32)
    total = tl.zeros([TILE, DIM], tl.float32)
    # Two loops instead of a choice for each key, which the compiler would send through shared memory at
    # every tile.
    ring += slots * DIM
    scale += slots
    border = tl.minimum(tl.maximum(num_pinned, begin), end)
    top, weight, total = _meet_keys(
        top, weight, total, q_pinning, ring, scale, begin, border, HEADS, CAPACITY, DIM, TILE, SCALED
    )
    top, weight, total = _meet_keys(
        top, weight, total, q_rolling, ring, scale, border, end, HEADS, CAPACITY, DIM, TILE, SCALED
    )

    best = tl.max(top, 0)
    share = tl.exp2(top - best)  # 0 for a lane that met no key
    part = head_row * tl.num_programs(1) + split
    tl.store(part_sum + part.to(tl.int64) * DIM + dims, tl.sum(total * share[:, None], 0))
    tl.store(part_weight + part, tl.sum(weight * share, 0))
    tl.store(part_top + part, best)


@triton.jit
def _combine_splits_kernel(
    part_sum: tl.tensor,
    part_weight: tl.tensor,
    part_top: tl.tensor,
    last: tl.tensor,
    out: tl.tensor,
    HEADS: tl.constexpr,
    CAPACITY: tl.constexpr,
    DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    SPLITS_BLOCK: tl.constexpr,
) -> None:
    """One row and head: its splits' sums become one weighted mean; zeros if the row holds nothing."""
    head_row = tl.program_id(0)
    filled = tl.minimum(tl.load(last + head_row // HEADS) + 1, CAPACITY).to(tl.int32)
    splits = tl.arange(0, SPLITS_BLOCK)
    is_used = splits * SPLIT < filled
    parts = head_row * NUM_SPLITS + splits
    top = tl.load(part_top + parts, mask=is_used, other=-1e30)
    share = tl.exp2(top - tl.max(top, 0))  # an unused split's share may be 1, but its weight and sum are 0
    weight = tl.sum(share * tl.load(part_weight + parts, mask=is_used, other=0.0), 0)
    dims = tl.arange(0, DIM)
    sums = part_sum + parts[:, None].to(tl.int64) * DIM + dims[None, :]
    total = tl.sum(share[:, None] * tl.load(sums, mask=is_used[:, None], other=0.0), 0)
    mean = total / tl.where(filled > 0, weight, 1.0)
    tl.store(out + head_row * DIM + dims, mean.to(out.dtype.element_ty))


def rope_write(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    cos_pinned: Tensor,
    sin_pinned: Tensor,
    entry: Tensor,
    active: Tensor,
    ring: Tensor,
    ring_scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rotate one step of every row and write its key and value into the ring of each active row.

    qkv: float [B, 3, H, D]. cos, sin (and those of the distance at which pinned keys are seen): float32 [B,
    D / 2]. entry: int64 [B], the ring entry to write, 0 <= entry < C where active. active: bool [B]; other
    rows keep their ring. ring: float32, bf16, fp16 or float8_e4m3fn [B, 2, H, C, D]; ring_scale: float32
    [B, 2, H, C] for float8, else None; a written entry stands for value * scale, and a scale is the head's
    largest magnitude / 448. Returns queries rotated by (cos, sin) and by the pinned angles, each [B, H, D]
    in qkv's dtype. Rotation is in float32 and cast back, as `model.attention.rotate`. float8 needs compute
    capability 8.9.
    """
    batch, three, heads, dim = qkv.shape
    _check_ring(ring, ring_scale, batch, heads, dim)
    assert three == 3 and qkv.is_contiguous(), "queries, keys, values of every head, contiguous"
    for angles in (cos, sin, cos_pinned, sin_pinned):
        assert angles.shape == (batch, dim // 2) and angles.is_contiguous() and angles.dtype == torch.float32
    assert (
        entry.shape == active.shape == (batch,) and entry.dtype == torch.int64 and active.dtype == torch.bool
    )
    q, q_pinned = qkv.new_empty(batch, heads, dim), qkv.new_empty(batch, heads, dim)
    _rope_write_kernel[(batch * heads,)](
        qkv,
        cos,
        sin,
        cos_pinned,
        sin_pinned,
        entry,
        active.view(torch.uint8),
        ring,
        ring if ring_scale is None else ring_scale,
        q,
        q_pinned,
        HEADS=heads,
        CAPACITY=ring.shape[3],
        DIM=dim,
        SCALED=ring_scale is not None,
        LARGEST=FLOAT8_MAX,
        FLOOR=AMAX_FLOOR,
        num_warps=1,
    )
    return q, q_pinned


def ring_attention(
    q: Tensor, q_pinned: Tensor, ring: Tensor, ring_scale: Tensor | None, last: Tensor, pinned: Tensor
) -> Tensor:
    """Attend with one query of each row over all that its ring holds: float [B, H, D] in q's dtype.

    q, q_pinned: float [B, H, D], as `rope_write` returns them; entries below pinned[b] are scored with
    q_pinned. ring, ring_scale: as in `rope_write`. last: int64 [B], each row's newest position, already
    written; -1: none, and the row's result is zeros. pinned: int64 [B], 0 <= pinned < C. Softmax of q k /
    sqrt(D) in float32. What lies in entries that were never written, even NaN, is not read.
    """
    batch, heads, dim = q.shape
    _check_ring(ring, ring_scale, batch, heads, dim)
    assert q_pinned.shape == q.shape and q.is_contiguous() and q_pinned.is_contiguous()
    assert last.shape == pinned.shape == (batch,) and last.dtype == pinned.dtype == torch.int64
    capacity = ring.shape[3]
    num_splits = triton.cdiv(capacity, SPLIT_KEYS)
    assert num_splits <= MAX_SPLITS, f"a ring of {capacity} steps is longer than {MAX_SPLITS * SPLIT_KEYS}"
    sums = q.new_empty(batch * heads, num_splits, dim, dtype=torch.float32)
    weights = q.new_empty(batch * heads, num_splits, dtype=torch.float32)
    tops, out = torch.empty_like(weights), torch.empty_like(q)
    _attend_split_kernel[(batch * heads, num_splits)](
        q,
        q_pinned,
        ring,
        ring if ring_scale is None else ring_scale,
        last,
        pinned,
        sums,
        weights,
        tops,
        LOG2_E / math.sqrt(dim),
        HEADS=heads,
        CAPACITY=capacity,
        DIM=dim,
        SPLIT=SPLIT_KEYS,
        TILE=min(TILE_BYTES // (dim * ring.element_size()), SPLIT_KEYS),
        SCALED=ring_scale is not None,
        num_warps=4 if ring_scale is None else 8,
    )
    _combine_splits_kernel[(batch * heads,)](
        sums,
        weights,
        tops,
        last,
        out,
        HEADS=heads,
        CAPACITY=capacity,
        DIM=dim,
        SPLIT=SPLIT_KEYS,
        NUM_SPLITS=num_splits,
        SPLITS_BLOCK=triton.next_power_of_2(num_splits),
        num_warps=4,
    )
    return out


def _check_ring(ring: Tensor, ring_scale: Tensor | None, batch: int, heads: int, dim: int) -> None:
    assert dim >= 16 and dim & (dim - 1) == 0, f"a head of {dim} is not a power of two, 16 or more"
    assert ring.shape[:3] == (batch, 2, heads) and ring.shape[4] == dim and ring.is_contiguous()
    assert ring.dtype in RING_DTYPES, f"a ring of {ring.dtype}"
    assert (ring_scale is not None) == (ring.dtype == torch.float8_e4m3fn), (
        "float8, and only that, has scales"
    )
    if ring_scale is not None:
        assert ring_scale.shape == ring.shape[:4] and ring_scale.is_contiguous()
        assert ring_scale.dtype == torch.float32
