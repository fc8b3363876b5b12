"""Every kernel, compiled for an H100 or H200 at the published family's shapes; needs no GPU, but no
interpreter either.

The interpreter is ordinary Python and takes much that the compiler refuses. `test_kernels.py` runs this
module in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from torch import Tensor

from model import kernels, kernels_dense, kernels_ring

assert not triton.knobs.runtime.interpret, "unset TRITON_INTERPRET"

TARGET = triton.backends.compiler.GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8e4nv",
    torch.int64: "i64",
    torch.int8: "i8",
    torch.uint8: "u8",
}
BF16, F8 = torch.bfloat16, torch.float8_e4m3fn


class Compiled:
    """Stands for a kernel: a launch compiles it with the launch's types, constants and options."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.binaries = kernel, list[Any]()

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self.launch

    def launch(self, *args: Any, **named: Any) -> None:
        names = self.kernel.arg_names
        constants = {name: value for name, value in named.items() if name in names}
        options = {name: value for name, value in named.items() if name not in names}
        signature = dict(zip(names, map(type_name, args), strict=False)) | dict.fromkeys(
            constants, "constexpr"
        )
        aligned = {(i,): [["tt.divisibility", 16]] for i, x in enumerate(args) if isinstance(x, Tensor)}
        source = triton.compiler.ASTSource(
            self.kernel,
            signature,
            {(names.index(name),): value for name, value in constants.items()},
            aligned,
        )
        self.binaries.append(
            triton.compile(source, target=TARGET, options=options | {"enable_fp_fusion": True})
        )


def type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return "*" + TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Compiled]:
    """Every kernel of both modules by name; a launch compiles."""
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    found = {}
    for module in (kernels_ring, kernels_dense):
        for name in [name for name in vars(module) if name.endswith("_kernel")]:
            found[name] = Compiled(getattr(module, name))
            monkeypatch.setattr(module, name, found[name])
    return found


def empty(*shape: int, dtype: torch.dtype = BF16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def assert_nothing_spills(binary: Any, folder: Path) -> None:
    """No thread keeps registers in local memory."""
    (folder / "kernel.cubin").write_bytes(binary.asm["cubin"])
    usage = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(folder / "kernel.cubin")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    print(binary.metadata.name, re.findall(r"REG:\d+|STACK:\d+", usage), binary.metadata.shared)
    assert re.findall(r"STACK:(\d+)", usage) == ["0"], usage


def loops(binary: Any) -> list[str]:
    """The bodies of a kernel's loops, in the compiler's own form."""
    return re.findall(r"scf\.for.*?scf\.yield", binary.asm["ttgir"], re.DOTALL)


@pytest.mark.parametrize("dtype", [BF16, F8, torch.float32])
def test_the_temporal_step(compiled: dict[str, Compiled], dtype: torch.dtype, tmp_path: Path) -> None:
    qkv, ring = empty(2, 3, 32, 128), empty(2, 2, 32, 3000, 128, dtype=dtype)
    scale = empty(2, 2, 32, 3000, dtype=torch.float32) if dtype == F8 else None
    angle, place = empty(2, 64, dtype=torch.float32), empty(2, dtype=torch.int64)
    q, q_pinned = kernels.rope_write(
        qkv, angle, angle, angle, angle, place, empty(2, dtype=torch.bool), ring, scale
    )
    kernels.ring_attention(q, q_pinned, ring, scale, place, place)
    for name in ("_rope_write_kernel", "_attend_split_kernel", "_combine_splits_kernel"):
        (binary,) = compiled[name].binaries
        assert_nothing_spills(binary, tmp_path)
    (attention,) = compiled["_attend_split_kernel"].binaries
    assert len(loops(attention)) == 2, "pinned keys, then rolling ones"
    for body in loops(attention):
        assert body.count("tt.load") == (4 if dtype == F8 else 2)
        # Sixteen elements of a row go to a thread as one load, and nothing passes through shared memory.
        assert "convert_layout" not in body
    assert "ld.global.v4.b32" in attention.asm["ptx"]


@pytest.mark.parametrize("rows", [1, 32, 256])
def test_what_every_layer_has(compiled: dict[str, Compiled], rows: int, tmp_path: Path) -> None:
    x = empty(rows, 4096)
    kernels.add_rms_norm(x, x, empty(4096))
    kernels.silu_mul(empty(rows, 2 * 11264))
    kernels.int8_linear(x, empty(12288, 4096, dtype=torch.int8), empty(12288, dtype=torch.float32))
    for name in ("_add_rms_norm_kernel", "_silu_mul_kernel", "_int8_linear_kernel"):
        (binary,) = compiled[name].binaries
        assert_nothing_spills(binary, tmp_path)
        assert binary.metadata.shared < 227 * 1024


@pytest.mark.parametrize("steps", [8, 16])
def test_the_depth_step(compiled: dict[str, Compiled], steps: int, tmp_path: Path) -> None:
    for step in (0, 1, steps - 1):
        kernels.depth_attention(empty(2, 3, 16, 64), empty(2, 2, 16, steps, 64), step)
    for binary in compiled["_depth_attention_kernel"].binaries:
        assert_nothing_spills(binary, tmp_path)
