"""Where engines come from: the one place that knows how a model is found, loaded and told apart.

torch is loaded inside the functions that need it, so that a worker with the stand-in engine never loads it.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog

from agent.machine import cpu_name
from agent.standin import VOICES, StandIn
from agent.tick_loop import Stepper
from agent.wire import MAX_VOICES
from agent.wire_fields import MAX_VOICE_BYTES
from model.heap import keep_freed_memory
from model.package import package_key, package_path
from model.tokenizer import TOKENIZER_FILE, read_text_tokenizer

if TYPE_CHECKING:
    from agent.settings import WorkerSettings

STANDIN, CASCADE = "standin", "cascade"
WITHOUT_WEIGHTS = (STANDIN, CASCADE)  # engines that load no model of ours, and have no step to measure
MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model"
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")

log = structlog.get_logger(__name__)


def model_folder(model: Path) -> Path:
    """The folder of a model that is given as a folder or as the name of a published model.

    Raises model.errors.CheckpointError if it is neither, or its files are not on this machine.
    """
    if os.path.isdir(model):  # False for names that no file system takes, where Path.is_dir raises
        return model.resolve()
    from model.presets import find_model, hub_cache_folder  # loads torch

    return find_model(str(model), hub_cache=hub_cache_folder(os.environ))


def tokenizer_file(folder: Path) -> Path:
    """Where a model folder has its text tokenizer. Raises model.errors.ModelError if it has none."""
    ours = folder / TOKENIZER_FILE
    if ours.is_file():
        return ours
    from model.model_folder import open_folder  # loads torch
    from model.presets import hub_cache_folder

    return open_folder(folder, hub_cache=hub_cache_folder(os.environ)).tokenizer


def model_argument(model: Path) -> str:
    """The same for another process's command line: a folder absolute, a name as it is."""
    return str(model.resolve() if os.path.isdir(model) else model)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine a worker runs, and where."""

    engine: str  # builtin, standin, cascade
    model: Path  # a folder, or a published model's name
    device: str
    num_threads: int
    share: float = 1.0  # of the device, which other workers of this machine use too
    kv: str = "same"  # keys and values: as the weights, or float8

    @classmethod
    def of(cls, worker: WorkerSettings, model: Path | None = None) -> EngineChoice:
        """What the settings ask for; `model` stands for theirs where it has been found already."""
        return cls(
            worker.engine, model or worker.model_dir, worker.device, worker.threads, worker.share, worker.kv
        )


class EngineFactory:
    """One model's weights, loaded once, and engines of any number of slots over them."""

    def __init__(self, choice: EngineChoice, packages: Path | None = None) -> None:
        """Engines take compiled steps from the folder `packages` where they are there; None: never."""
        self._choice, self.packages = choice, packages
        self._loaded: Any = None  # a model.published.LoadedModel, once there is one

    @property
    def name(self) -> str:
        """What the worker calls its model."""
        engine = self._choice.engine
        return engine if engine in WITHOUT_WEIGHTS else self._choice.model.name

    def build(self, num_slots: int) -> Stepper:
        """An engine, cold yet; an earlier one must be out of use, or memory holds both.

        Raises model.errors.ModelError if the model does not load.
        """
        if self._choice.engine == STANDIN:
            return StandIn(num_slots)
        if self._choice.engine == CASCADE:
            return self._cascade(num_slots)
        torch = self._torch()
        from model.engine import Engine
        from model.presets import hub_cache_folder
        from model.published import load_model

        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if self._loaded is None:
            folder, hub_cache = model_folder(self._choice.model), hub_cache_folder(os.environ)
            self._loaded = load_model(folder, device=self._choice.device, hub_cache=hub_cache)
        kv_dtype = torch.float8_e4m3fn if self._choice.kv == "float8" else None
        engine = Engine(self._loaded, num_slots, kv_dtype=kv_dtype)
        if self.packages is not None and self._choice.device == "cpu" and kv_dtype is None:
            self._adopt_kept(engine, self.packages)
        return engine

    def _cascade(self, num_slots: int) -> Stepper:
        from agent.cascade.engine import Cascade  # loads the order line and a tokenizer
        from agent.settings_reader import load_settings

        # Not from the command line, which everybody on the machine can read: there are keys among them.
        settings = load_settings(os.environ).cascade
        folder = model_folder(self._choice.model)
        return Cascade(num_slots, settings, read_text_tokenizer(tokenizer_file(folder)))

    def _adopt_kept(self, engine: Any, packages: Path) -> None:
        from model.compiled import Unpacked, why_not
        from model.errors import CompileError

        if why_not(engine.program):
            return
        key = package_key(self.folder, engine.num_slots)
        path = package_path(packages, key)
        if not path.exists():
            return
        try:
            unpacked = Unpacked(path, key)
            try:
                engine.adopt_compiled(unpacked)
            finally:
                unpacked.close()
        except CompileError as error:
            log.warning("package_not_used", reason=str(error))

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return model_folder(self._choice.model)

    def has_packages(self, max_slots: int) -> bool:
        """Whether there is a compiled step for any number of slots up to this."""
        if self.packages is None or self._choice.engine in WITHOUT_WEIGHTS or self._choice.device != "cpu":
            return False
        if not any(self.packages.glob("step-*")):
            return False
        key = package_key(self.folder, 1)
        keys = ({**key, "num_slots": number} for number in range(1, max_slots + 1))
        return any(package_path(self.packages, one).exists() for one in keys)

    def voices(self, stepper: Stepper) -> tuple[str, ...]:
        """The voices that a profile may name, as many as a gateway can be told of."""
        if self._choice.engine == STANDIN:
            return VOICES
        told = cast(Sequence[str], getattr(stepper, "voices", ()))
        return tuple(voice for voice in told if len(voice.encode()) <= MAX_VOICE_BYTES)[:MAX_VOICES]

    def takes_role(self, stepper: Stepper) -> bool:
        """Whether a profile may hold a role."""
        return bool(getattr(stepper, "takes_role", False))

    def memory(self) -> tuple[int, int]:
        """Bytes that are free and bytes there are, where the engine's state lies."""
        if self._choice.engine not in WITHOUT_WEIGHTS and self._choice.device.startswith("cuda"):
            free_bytes, all_bytes = self._torch().cuda.mem_get_info(self._choice.device)
            return int(free_bytes), int(all_bytes)
        return host_memory()

    def key(self) -> dict[str, str | int | float]:
        """What a measured step time depends on."""
        choice = self._choice
        has_weights = choice.engine not in WITHOUT_WEIGHTS
        return {
            "device": self._device_name() if has_weights else "none",
            "cpu": cpu_name(),
            "num_cpus": len(os.sched_getaffinity(0)),
            "num_threads": choice.num_threads,
            "share": round(choice.share, 4),
            "kv": choice.kv,
            "torch": importlib.metadata.version("torch"),
            "model": self.name,
            "files": _digest_of_sizes(model_folder(choice.model)) if has_weights else "none",
            "sources": _digest_of_sources(MODEL_SOURCES),
        }

    def _device_name(self) -> str:
        if not self._choice.device.startswith("cuda"):
            return self._choice.device
        return str(self._torch().cuda.get_device_name(self._choice.device))

    def _torch(self) -> Any:
        os.environ.setdefault("OMP_NUM_THREADS", str(self._choice.num_threads))  # read when torch is loaded
        import torch  # not before we know that this worker needs it: it takes seconds

        torch.set_num_threads(self._choice.num_threads)
        keep_freed_memory()
        return torch


def host_memory() -> tuple[int, int]:
    """Bytes of main memory that this process could still get, and all there are for it."""
    fields = {}
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    free_bytes, all_bytes = fields["MemAvailable"], fields["MemTotal"]
    try:
        limit, used, told = (
            (CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current", "memory.stat")
        )
        if limit != "max":
            stat = dict(line.split() for line in told.splitlines())
            held = int(used) - int(stat["inactive_file"])  # files that were read once make room when asked
            free_bytes, all_bytes = min(free_bytes, int(limit) - held), min(all_bytes, int(limit))
    except (OSError, ValueError, KeyError):  # no control group of our own
        pass
    return free_bytes, all_bytes


def _digest_of_sizes(folder: Path) -> str:
    """Tells one model's files from another's, and one precision from another, without reading them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [f"{path.relative_to(folder)}:{path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _digest_of_sources(folder: Path) -> str:
    """Our own version: the engine's sources as they are, whatever number the package bears."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
