"""A tick's program compiled for this CPU, ahead of time: one package for each model, batch and CPU.

    python -m model.compiled --model DIR --slots 2 --cache FOLDER

takes minutes of CPU time (at the lowest priority), 1.5 GB of memory and a C++ compiler; running the package
needs none of them. It works on the program's own tensors, in place, so that compiled and plain steps may
alternate at will. The weights are part of the package, packed for its loops.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.config import FRAME_SAMPLES
from model.errors import CompileError, ModelError
from model.lean import make_lean
from model.package import (
    EXIT_NO_COMPILER,
    EXIT_UNFIT,
    SUFFIX,
    Key,
    alone,
    is_whole,
    key_digest,
    note_use,
    package_key,
    package_path,
    prune,
)
from model.program import StepProgram

KEY_FIELD = "offhook_key"
LOWEST_NICENESS = 19
PARTIAL = "partial-"  # folders of a compilation that goes on, or was ended
NUM_VERIFIED_STEPS = 40
MAX_SOUND_ERROR = 1e-3  # of full scale
MAX_WEIGHT_BYTES = 1 << 30  # larger models are bound by memory, and would be kept twice


class _Step(nn.Module):
    """A copy of a program, as a function of the tensors that it works on."""

    def __init__(self, program: StepProgram) -> None:
        super().__init__()
        self.codec, self.lm = program.codec, program.generator.lm
        self._program = program
        # Tensors that are no module's would not count as constants that can be folded.
        self._held: list[tuple[Any, str, str]] = []
        owners = (program, program.generator, program.generator.controls, program.recital, program.answering)
        for owner in (owner for owner in owners if owner is not None):
            for name, value in vars(owner).items():
                if isinstance(value, Tensor):
                    self.register_buffer(f"held_{len(self._held)}", value)
                    self._held.append((owner, name, f"held_{len(self._held)}"))

    def forward(self, pcm: Tensor, active: Tensor, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
        self._program.bind(tensors)
        for owner, name, buffer in self._held:
            setattr(owner, name, self.get_buffer(buffer))
        return self._program(pcm, active)


def why_not(program: StepProgram) -> str:
    """Why this program is not to be compiled; empty if it is."""
    lm = program.generator.lm
    if lm.text_linear.weight.device.type != "cpu":
        return "compiled steps are for CPUs; other devices have their own"
    num_bytes = sum(
        weight.nbytes for module in (program.codec, lm) for weight in module.state_dict().values()
    )
    if num_bytes > MAX_WEIGHT_BYTES:
        return f"the model's {num_bytes >> 20} MiB of weights are more than {MAX_WEIGHT_BYTES >> 20}"
    return ""


def compile_program(program: StepProgram, path: Path, key: Key, *, is_tuned: bool = True) -> None:
    """Compile a program into a package, which appears whole or not at all; the program stays as it is.

    Without tuning the steps are slower, and it takes a third of the time. Raises CompileError.
    """
    reason = why_not(program)
    if reason:
        raise CompileError(reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as folder:
        made = Path(folder) / f"step{SUFFIX}"
        _compile(program, made, {KEY_FIELD: key_digest(key)}, is_tuned=is_tuned)
        _verify(program, made, key)
        made.replace(path)


def _compile(program: StepProgram, made: Path, labels: dict[str, str], *, is_tuned: bool) -> None:
    import torch._inductor
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(made.parent / "inductor")
    if shutil.which(os.environ.get("CXX", "g++")) is None:  # torch remembers one that it has seen
        raise CompileError("there is no C++ compiler on this machine (g++)")
    try:
        cpp_builder.get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise CompileError("there is no C++ compiler on this machine (g++)") from error
    options: dict[str, Any] = {
        "cpp.threads": 1,
        "compile_threads": 1,
        "freezing": True,
        "fx_graph_cache": False,
        "aot_inductor.metadata": labels,
    }
    if is_tuned:
        options |= {"max_autotune": True, "max_autotune_gemm_backends": "CPP"}
    with torch.no_grad():  # else constants are not folded
        step = _Step(_lean_copy(program))
        num_slots = len(program.generator.offsets)
        silence, nobody = torch.zeros(num_slots, FRAME_SAMPLES), torch.zeros(num_slots, dtype=torch.bool)
        example = (silence, nobody, [tensor.clone() for tensor in program.tensors()])
        exported = torch.export.export(step, example, strict=False)
        torch._inductor.aoti_compile_and_package(exported, package_path=str(made), inductor_configs=options)


@torch.no_grad()
def _verify(program: StepProgram, made: Path, key: Key) -> None:
    """Compiled and plain steps say the same. Raises CompileError: compilers err, and tuning is by chance."""
    plain, other = copy.deepcopy(program), copy.deepcopy(program)
    run = CompiledRunner.load(other, made, key)
    draws = torch.Generator().manual_seed(0)
    num_slots = len(program.generator.offsets)
    for step in range(NUM_VERIFIED_STEPS):
        pcm = 0.1 * torch.randn(num_slots, FRAME_SAMPLES, generator=draws)
        active = torch.rand(num_slots, generator=draws) < 0.9
        sound, numbers = plain(pcm, active)
        other_sound, other_numbers = run.run(pcm, active)
        off = float((sound - other_sound).abs().max())
        if not torch.equal(numbers, other_numbers) or not off < MAX_SOUND_ERROR:
            raise CompileError(f"the compiled step {step} differs from the plain one (sound by {off:.2g})")


def _lean_copy(program: StepProgram) -> StepProgram:
    copied = copy.deepcopy(program)
    for model in (copied.codec, copied.generator.lm):
        model.requires_grad_(False)
        make_lean(model)
    return copied


class Unpacked:
    """A package's library in a folder of its own until `close`; loading it is quick then."""

    def __init__(self, path: Path, key: Key) -> None:
        """Unpack and check it, on any thread. Raises CompileError if it is damaged or another key's."""
        self._folder = tempfile.TemporaryDirectory(prefix="offhook-step-")
        try:
            self.program_file = self._unpack(path, key_digest(key))
        except (OSError, ValueError, zipfile.BadZipFile, RuntimeError) as error:
            self.close()
            raise CompileError(f"the package {path} is damaged: {str(error)[:200]}") from error
        except CompileError:
            self.close()
            raise
        note_use(path)

    def _unpack(self, path: Path, digest: str) -> Path:
        with zipfile.ZipFile(path) as package:
            names = package.namelist()
            labels = [json.loads(package.read(name)) for name in names if name.endswith("_metadata.json")]
            if not any(label.get(KEY_FIELD) == digest for label in labels):
                raise CompileError(f"the package {path} is another model's, or was made for another CPU")
            (library,) = (name for name in names if name.endswith(".so"))
            return Path(package.extract(library, self._folder.name))

    def close(self) -> None:
        """Remove the folder; what is loaded stays."""
        self._folder.cleanup()


class CompiledRunner:
    """A package at work on a program's tensors; see `model.program.Runner`."""

    def __init__(self, program: StepProgram, unpacked: Unpacked) -> None:
        """Holds the interpreter while it copies the weights, 60 ms for 85 MB. Raises CompileError."""
        try:
            self._container = torch._C._aoti.AOTIModelContainerRunnerCpu(str(unpacked.program_file), 1)
        except RuntimeError as error:
            raise CompileError(f"a compiled step cannot be loaded: {str(error)[:200]}") from error
        self._tensors = program.tensors()

    @classmethod
    def load(cls, program: StepProgram, path: Path, key: Key) -> CompiledRunner:
        """Both at once. Raises CompileError."""
        unpacked = Unpacked(path, key)
        try:
            return cls(program, unpacked)
        finally:
            unpacked.close()

    @torch.inference_mode()
    def run(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        sound, numbers = self._container.run([pcm, active, *self._tensors])
        return sound, numbers


# ---- the command ----


def build(model: Path, num_slots: int, cache: Path) -> Path:
    """Have the package of a model folder in the cache; where it is.

    Raises CompileError, or another ModelError if the model does not load.
    """
    from model.engine import Engine  # an engine imports us

    key = package_key(model, num_slots)
    path = package_path(cache, key)
    try:
        with alone(cache):
            if not is_whole(path):  # whoever had the lock may have made the same
                _remove_partial(cache)
                compile_program(Engine.load(model, num_slots).program, path, key)
                prune(cache)
    except OSError as error:
        raise CompileError(f"the folder {cache} cannot be used: {error.strerror}") from error
    return path


def _remove_partial(cache: Path) -> None:
    """What compilations left behind that were ended; the lock is ours."""
    for folder in cache.glob(f"{PARTIAL}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _yield_to_all() -> None:
    """Take only CPU time that nobody else wants."""
    os.nice(LOWEST_NICENESS)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _end_with_stdin() -> None:
    """End this process and its compilers when whoever started us is gone, however it died."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(argv: list[str] | None = None) -> int:
    """Build a package; exit status 0, 2 for a wrong model, 4 without a compiler, 5 if it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m model.compiled", description="Compile a model's step.")
    parser.add_argument("--model", type=Path, required=True, help="a model folder")
    parser.add_argument("--slots", type=int, required=True, help="calls at once")
    parser.add_argument("--cache", type=Path, required=True, help="folder where packages are kept")
    parser.add_argument("--ends-with-stdin", action="store_true", help="stop when stdin closes")
    args = parser.parse_args(argv)
    if args.ends_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    _yield_to_all()
    torch.set_num_threads(1)
    try:
        print(build(args.model, args.slots, args.cache))
    except CompileError as error:
        print(error, file=sys.stderr)
        return EXIT_NO_COMPILER if "compiler" in str(error) else EXIT_UNFIT
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
