"""The past of a streaming module, held outside it, one row per call.

A module that looks back implements `init_state(batch)` and takes the `State` it returned on every call;
without a state it treats its input as one whole sequence. Laws: every tensor has the batch first, and all
zeros means "nothing heard yet", so that resetting a row is zeroing it. Rows outside `exec_mask` are computed
but not remembered. Tensors are only ever written in place: their addresses are part of captured CUDA graphs
and compiled programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class State:
    """A tree of tensors [B, ...]: what each row of each module remembers, and which rows move on."""

    def __init__(self, exec_mask: Tensor) -> None:
        self.exec_mask = exec_mask  # bool [B], shared by the whole tree
        self.tensors: dict[str, Tensor] = {}
        self.children: dict[str, State] = {}

    @classmethod
    def root(cls, batch: int, device: torch.device | str = "cpu") -> State:
        """An empty tree of `batch` rows, all of them executing."""
        return cls(torch.ones(batch, dtype=torch.bool, device=device))

    def child(self, name: str) -> State:
        """The named sub-tree, made on first use."""
        if name not in self.children:
            self.children[name] = State(self.exec_mask)
        return self.children[name]

    def add(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
        """Remember a new tensor of zeros [B, *shape]."""
        self.tensors[name] = torch.zeros(
            (len(self.exec_mask), *shape), dtype=dtype, device=self.exec_mask.device
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def put(self, name: str, new: Tensor) -> None:
        """Replace the tensor in the executing rows; the others keep what they had."""
        old = self.tensors[name]
        mask = self.exec_mask.view(-1, *[1] * (old.dim() - 1))
        old.copy_(torch.where(mask, new.to(old.dtype), old))

    def set_exec_mask(self, mask: Tensor) -> None:
        """Only rows where bool [B] is true remember what follows, until this is called again."""
        self.exec_mask.copy_(mask)

    def reset(self, rows: Tensor) -> None:
        """Forget everything in the rows where bool [B] is true."""
        chosen = (
            rows.nonzero().flatten().tolist()
        )  # a mask would make the device pass over the other rows too
        for tensor in self.walk():
            for row in chosen:
                tensor[row].zero_()

    def walk(self) -> Iterator[Tensor]:
        """Every tensor of the tree."""
        yield from self.tensors.values()
        for child in self.children.values():
            yield from child.walk()

    def swap(self, replaced: Mapping[Tensor, Tensor]) -> None:
        """Hold other tensors in the place of those that are keys, masks included."""
        self.exec_mask = replaced.get(self.exec_mask, self.exec_mask)
        for name, tensor in self.tensors.items():
            self.tensors[name] = replaced.get(tensor, tensor)
        for child in self.children.values():
            child.swap(replaced)

    def row(self, index: int) -> State:
        """One row as a tree of batch 1 that shares this tree's memory; that row is always executing."""
        view = State(torch.ones_like(self.exec_mask[:1]))
        self._narrow(view, index)
        return view

    def _narrow(self, view: State, index: int) -> None:
        view.tensors = {name: tensor[index : index + 1] for name, tensor in self.tensors.items()}
        for name, child in self.children.items():
            child._narrow(view.child(name), index)

    def rows(self, index: int) -> list[Tensor]:
        """Copies of one row's tensors, in walking order (for tests and for moving a call)."""
        return [tensor[index].clone() for tensor in self.walk()]
