"""The GPU kernels, compiled and run: the interpreter's checks again, a CUDA graph, and their speed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.model.test_kernels import run_tests

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

BF16, F8 = torch.bfloat16, torch.float8_e4m3fn
HEADS, DIM, CAPACITY = 32, 128, 3000  # one layer of the published 7B model


def noise(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.randn(*shape, device="cuda").to(dtype)


def ring_of(batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    ring = torch.empty(batch, 2, HEADS, CAPACITY, DIM, dtype=BF16, device="cuda").normal_().to(dtype)
    return ring, torch.ones(ring.shape[:4], device="cuda") if dtype == F8 else None


def captured(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """The step as a graph, after the runs that compile it."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def seconds(step: Callable[[], object], repeats: int = 20) -> float:
    """Median time of one replay."""
    graph, times = captured(step), list[float]()
    began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    for _ in range(repeats):
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        times.append(began.elapsed_time(ended) / 1000)
    return sorted(times)[repeats // 2]


def copy_bandwidth() -> float:
    """Bytes read and written in a second by a copy of 2 GB."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def test_the_interpreters_checks_hold_compiled() -> None:
    print(run_tests("kernel_checks.py", "0"))


@pytest.mark.parametrize("dtype", [BF16, F8])
def test_a_graph_follows_what_changes_in_place(dtype: torch.dtype) -> None:
    from model.kernels import ring_attention, rope_write

    ring, scale = ring_of(3, dtype)
    qkv, angle = noise(3, 3, HEADS, DIM), torch.zeros(3, DIM // 2, device="cuda")
    entry, last = torch.zeros(2, 3, dtype=torch.int64, device="cuda").unbind(0)
    pinned, active = torch.zeros_like(entry), torch.ones(3, dtype=torch.bool, device="cuda")
    out = torch.empty(3, HEADS, DIM, dtype=BF16, device="cuda")

    def step() -> Tensor:
        q, q_pinned = rope_write(qkv, angle, angle, angle, angle, entry, active, ring, scale)
        return ring_attention(q, q_pinned, ring, scale, last, pinned)

    graph = captured(lambda: out.copy_(step()))
    for lasts in ([0, 1, 2], [2999, 255, 256], [9000, -1, 300]):
        last.copy_(torch.tensor(lasts))
        entry.copy_(last.clamp(min=0) % CAPACITY)
        qkv.normal_()
        graph.replay()
        assert torch.equal(out, step())
        assert out.isfinite().all()


def attention_speed(batch: int, filled: int, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds of a layer's attention, and bytes of the ring that it reads in a second."""
    from model.kernels import ring_attention

    ring, scale = ring_of(batch, dtype)
    q = noise(batch, HEADS, DIM)
    last = torch.full((batch,), filled - 1, device="cuda")
    pinned = torch.full((batch,), 37, device="cuda")
    took = seconds(partial(ring_attention, q, q, ring, scale, last, pinned))
    per_entry = DIM * ring.element_size() + (0 if scale is None else scale.element_size())
    return took, batch * 2 * HEADS * filled * per_entry / took


def test_speed_against_a_copy() -> None:
    """Prints; run it with -s. The one bar is loose: half of a copy's bandwidth with 64 long calls."""
    copied = copy_bandwidth()
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}: copy {copied / 1e12:.2f} TB/s")
    for dtype in (BF16, F8):
        for batch, filled in ((1, 100), (1, CAPACITY), (8, CAPACITY), (64, 100), (64, 1500), (64, CAPACITY)):
            took, read = attention_speed(batch, filled, dtype)
            print(
                f"ring_attention {dtype} B={batch} filled={filled}: {took * 1e6:.1f} us, "
                f"{read / 1e12:.2f} TB/s, {read / copied:.0%} of a copy"
            )
        assert read > 0.5 * copied


def test_speed_of_the_small_kernels() -> None:
    """Prints; run it with -s."""
    from model.kernels import add_rms_norm, depth_attention, int8_linear, silu_mul

    weight = torch.randint(-127, 128, (22528, 4096), dtype=torch.int8, device="cuda")
    wide, scale = weight.to(BF16), torch.ones(22528, device="cuda")
    for batch in (1, 16, 64, 128):
        x, both, out = noise(batch, 4096), noise(batch, 22528), noise(batch, 22528)
        steps: dict[str, Callable[[], object]] = {
            "int8_linear": partial(int8_linear, x, weight, scale),
            "torch in bf16": partial(torch.mm, x, wide.T, out=out),
            "add_rms_norm": partial(add_rms_norm, x, x, x[0].clone()),
            "silu_mul": partial(silu_mul, both),
            "depth_attention": partial(
                depth_attention, noise(batch, 3, 16, 64), noise(batch, 2, 16, 8, 64), 7
            ),
        }
        print(
            f"B={batch}: " + ", ".join(f"{name} {seconds(step) * 1e6:.1f} us" for name, step in steps.items())
        )
