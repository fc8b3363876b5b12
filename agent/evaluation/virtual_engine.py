"""Engines in this process, for calls without a clock: the operator's own, or another by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.engines import CASCADE, EngineChoice, EngineFactory, model_folder, tokenizer_file
from agent.errors import AgentError
from agent.settings import CascadeSettings, WorkerSettings
from agent.settings_reader import load_settings
from agent.tick_loop import Stepper

if TYPE_CHECKING:
    from agent.cascade.engine import Cascade


def with_engine(worker: WorkerSettings, engine: str | None) -> WorkerSettings:
    """The worker's settings with another engine. Raises AgentError for one that there is not."""
    if engine is None:
        return worker
    try:
        return WorkerSettings.model_validate({**worker.model_dump(), "engine": engine})
    except ValueError as error:
        raise AgentError(f"--engine {engine}: {error}") from None


def build_engine(worker: WorkerSettings, slots: int) -> Stepper:
    """The configured engine; a cascade's steps take the time on the call's clock that its parts worked.

    Raises model.errors.ModelError, ConfigError.
    """
    if worker.engine == CASCADE:  # its usual ears and talkers would answer by the wall clock, too late
        return virtual_cascade(worker, load_settings(os.environ).cascade, slots)
    return EngineFactory(EngineChoice.of(worker, model_folder(worker.model_dir))).build(slots)


def virtual_cascade(worker: WorkerSettings, own: CascadeSettings, slots: int) -> Cascade:
    """A cascade whose `step` does all work itself."""
    from agent.cascade.ear import Ear  # the order line and a recogniser
    from agent.cascade.engine import Cascade
    from model.tokenizer import read_text_tokenizer

    tokenizer = read_text_tokenizer(tokenizer_file(model_folder(worker.model_dir)))
    return Cascade(slots, own, tokenizer, [Ear(own) for _ in range(slots)])
