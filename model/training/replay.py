"""A step of training as a CUDA graph: recorded once, then launched whole.

A small model's step is thousands of kernels of a few microseconds, which Python cannot launch as fast as a
large GPU runs them. What is recorded may not wait for the device: no figure is read, and no shape depends on
the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

WARM_UPS = 2  # runs of a variant before it is recorded: they allocate what outlives a step

Variant = TypeVar("Variant")


class Replayed(Generic[Variant]):
    """A function of tensors of fixed shapes on a CUDA device; each variant of it is a graph of its own.

    `work` takes a batch and a variant and returns a tensor, the same one's memory in every replay. The runs
    before a recording are runs like any other: what they change is changed.
    """

    def __init__(self, work: Callable[[Sequence[Tensor], Variant], Tensor]) -> None:
        self._work = work
        self._inputs: list[Tensor] = []
        self._graphs: dict[Variant, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, batch: Sequence[Tensor], variant: Variant) -> Tensor:
        """What `work` returns for a batch on the device, valid until the next call."""
        if not self._inputs:
            self._inputs = [part.clone() for part in batch]
        for mine, part in zip(self._inputs, batch, strict=True):
            mine.copy_(part)
        if variant not in self._graphs:
            self._graphs[variant] = self._record(variant)
        graph, out = self._graphs[variant]
        graph.replay()
        return out

    def _record(self, variant: Variant) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                self._work(self._inputs, variant)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls are recorded: another one may be pinning the memory of batches.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            out = self._work(self._inputs, variant)
        return graph, out
