"""What every training stage has in common: weights and optimizer that outlive a run, and a budget of time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.training.legs import Leg
from model.training.metrics import SUFFIX, MetricsLog
from model.training.muon import MuonAdamW

SAVE_EVERY_S = 180.0
REPORT_EVERY_STEPS = 20

Batch = TypeVar("Batch")
Report = Callable[[str], None]
Figures = dict[str, float]


class Stage(ABC, Generic[Batch]):
    """A stage with a time budget, which is stopped and taken up at any step.

    The budget is of wall time between steps: waiting for batches counts, what came before the first does not.
    """

    def __init__(
        self, module: nn.Module, optimizer: MuonAdamW, path: Path, minutes: float, max_norm: float
    ) -> None:
        self._module, self.optimizer, self.path = module, optimizer, path
        self.budget_s, self._max_norm = 60 * minutes, max_norm
        self.device = next(module.parameters()).device
        self.spent_s, self.steps, self.num_skipped = 0.0, 0, 0
        self.metrics = MetricsLog(path.with_name(path.stem + SUFFIX))
        self._saved_at_s = time.monotonic()
        self._last_step_s: float | None = None

    @abstractmethod
    def step(self, batch: Batch) -> Figures:
        """One update; the figures worth watching."""

    def run(self, batches: Iterator[Batch], report: Report, leg: Leg | None = None) -> None:
        """Train until the time budget is spent, or the leg is over, and save.

        What a stage does between steps is not counted.
        """
        leg, recent = leg or Leg(), list[Figures]()
        while not self.is_done and not leg.is_over:
            recent.append(self.step(next(batches)))
            if self.steps % REPORT_EVERY_STEPS == 0:
                skipped = f" skipped {self.num_skipped}" if self.num_skipped else ""
                report(f"step {self.steps} {self.spent_s:.0f} s: {mean_figures(recent)}{skipped}")
                self.metrics.write(self.steps, self.spent_s, means(recent))
                recent = []
            began_s = time.monotonic()
            self._between_steps(report)
            if self._last_step_s is not None:
                self._last_step_s += time.monotonic() - began_s
            if time.monotonic() - self._saved_at_s > SAVE_EVERY_S:
                self.save()
        if recent:
            self.metrics.write(self.steps, self.spent_s, means(recent))
        self.save()

    def _between_steps(self, report: Report) -> None:
        """What a stage does between steps now and then."""

    @property
    def share(self) -> float:
        """How much of the time budget is spent, 0 to 1."""
        return self.spent_s / self.budget_s

    @property
    def is_done(self) -> bool:
        """Whether the time budget is spent."""
        return self.spent_s >= self.budget_s

    def update(self, loss: Tensor) -> float:
        """One step down the loss; the gradient's norm. A step that is not finite is skipped and counted."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self._module.parameters(), self._max_norm))
        if np.isfinite(norm):
            self.optimizer.step(schedule(self.share, self.steps))
        self._count(norm)
        return norm

    def update_unread(self, loss: Tensor) -> Tensor:
        """The same at the rates that are set, without waiting for the device: the gradient's norm, float [].

        For a recorded step, whose figures are read later: `_count` is to be called with that norm then. If it
        is not finite, no parameter has changed.
        """
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._module.parameters(), self._max_norm)
        self.optimizer.apply_if(norm.isfinite())
        return norm

    def _count(self, norm: float) -> None:
        """A step was taken, or skipped for its gradient."""
        self.num_skipped += not np.isfinite(norm)
        self.steps += 1
        now_s = time.monotonic()
        self.spent_s += now_s - (self._last_step_s or now_s)
        self._last_step_s = now_s

    def save(self) -> None:
        """Write a checkpoint that training and the next stages take up; it appears whole or not at all."""
        state = {
            "module": self._module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "spent_s": self.spent_s,
            "steps": self.steps,
            **self._more(),
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        self._saved_at_s = time.monotonic()

    def resume(self) -> bool:
        """Take up a checkpoint if there is one."""
        if not self.path.exists():
            self.metrics.rewind(-1)
            return False
        state = torch.load(self.path, weights_only=True, map_location=self.device)
        self._module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.spent_s, self.steps = state["spent_s"], state["steps"]
        self.metrics.rewind(self.steps)
        self._take(state)
        return True

    def _more(self) -> dict[str, object]:
        """What else this stage keeps."""
        return {}

    def _take(self, state: dict[str, object]) -> None:
        """Take up what else this stage kept."""


def schedule(share: float, step: int) -> float:
    """Learning-rate factor: warm-up over 50 steps, flat, linear to zero over the last 45 % of the time."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (1 - share) / 0.45))


def means(rows: Sequence[Figures]) -> Figures:
    """Figures averaged over steps; what is not a number in some step is left out of its mean."""
    values = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in rows[0]}
    return {name: float(np.mean(row)) if row else float("nan") for name, row in values.items()}


def mean_figures(rows: Sequence[Figures]) -> str:
    """The means as one line."""
    return " ".join(f"{name} {value:.3f}" for name, value in means(rows).items())
