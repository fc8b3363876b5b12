"""`offhook train`: every stage in order, each taken up where it was stopped. CPU or CUDA.

The working folder holds everything (bank, checkpoints, tokens); the model folder gets the weights that ship.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from model.checkpoint import save_module
from model.codec import Codec
from model.config import (
    CodecConfig,
    CodecTransformerConfig,
    LmConfig,
    ModelConfig,
    QuantizerConfig,
    SamplingConfig,
    SeanetConfig,
)
from model.engine import BUILTIN
from model.errors import CheckpointError
from model.lm import Lm
from model.tokenizer import DELEGATE_PIECE, TOKENIZER_FILE, TextTokenizer, load_text_tokenizer
from model.training.agent_voice import AgentSentence, other_texts, pool_sentences, speak
from model.training.bank import build_bank, load_shard
from model.training.codec_stage import INPUT_GAIN, ClipBatch, CodecDials, CodecTraining, Trainee, clip_batches
from model.training.dialogues import Call, Scriptwriter
from model.training.feed import GrowingBank, Share, feed
from model.training.lm_stage import CallBatch, LmDials, LmTraining, call_batches
from model.training.pool import NUM_NUMBERS, NUM_ORDERS, Pool, draw_pool
from model.training.recordings import RecordedCallers, add_recordings_option
from model.training.stage import Report
from model.training.tokenizer_stage import train_tokenizer
from model.training.tokens_stage import TokenStem, build_tokens, encode_library, load_stems
from model.training.voice_stage import VoiceDials, VoiceTraining

TRAIN_SEED, VALIDATION_SEED = 1_000_000, 9_000_000
OTHER_SENTENCES = 200
NUM_CODEBOOKS = 6
CUDA_BATCH_SCALE = 8
STAGES = ("bank", "recordings", "codec", "tokens", "lm", "voice", "export")

Batch = TypeVar("Batch")


def _transformer(num_layers: int) -> CodecTransformerConfig:
    return CodecTransformerConfig(
        num_heads=4, num_layers=num_layers, dim_feedforward=1024, context=32, layer_scale=0.3
    )


def builtin_config() -> ModelConfig:
    """Sizes of the built-in model: hearing gets four layers, the one voice that it speaks gets two."""
    codec = CodecConfig(
        seanet=SeanetConfig(dimension=256, n_filters=16, ratios=(4, 5, 6, 8)),
        encoder_transformer=_transformer(4),
        decoder_transformer=_transformer(2),
        quantizer=QuantizerConfig(dimension=64, n_q=NUM_CODEBOOKS, bins=512),
    )
    stream_delays = (0, *[1] * (NUM_CODEBOOKS - 1))
    lm = LmConfig(
        dim=256,
        num_heads=4,
        num_layers=6,
        context=375,
        n_q=2 * NUM_CODEBOOKS,
        dep_q=NUM_CODEBOOKS,
        card=512,
        text_card=1024,
        delays=(0, *stream_delays, *stream_delays),
        depformer_dim=128,
        depformer_dim_feedforward=512,
        depformer_num_heads=2,
        depformer_num_layers=2,
        extra_heads_num_heads=1,
        extra_heads_dim=1024,
    )
    sampling = SamplingConfig(
        text_temperature=0.0, text_top_k=10, audio_temperature=0.3, audio_top_k=50, text_once_frames=4
    )
    return ModelConfig("offhook-coffee-v0", codec, lm, sampling)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run may use: a device, processes that prepare batches (0: none), and how large batches are."""

    device: str = "cpu"
    num_workers: int = 0
    batch_scale: int = 1  # times the batch of a single CPU core


@dataclass(frozen=True, slots=True)
class PoolSize:
    """How many orders and numbers training calls are about; a folder's bank was made for one size."""

    num_orders: int = NUM_ORDERS
    num_numbers: int = NUM_NUMBERS

    def draw(self) -> Pool:
        """The pool of this size, the same each time."""
        return draw_pool(num_orders=self.num_orders, num_numbers=self.num_numbers)


class Pipeline:
    """The stages over one working folder; each takes up where an earlier run stopped it."""

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        report: Report,
        recorded: Sequence[Path] = (),
        pool_size: PoolSize | None = None,
    ) -> None:
        self.folder, self.machine, self.report = folder, machine, report
        self.pool_size = pool_size or PoolSize()
        self.recorded = RecordedCallers(recorded, folder)
        self.config = builtin_config()
        folder.mkdir(parents=True, exist_ok=True)
        torch.backends.cudnn.benchmark = True  # every batch of a stage has one shape

    def _feed(self, draw: Callable[[Share], Iterator[Batch]], steps: int) -> Iterator[Batch]:
        machine = self.machine
        return feed(draw, steps, machine.num_workers, pin=machine.device.startswith("cuda"))

    def bank(self, num_shards: int) -> None:
        """Synthetic callers, and a small bank for validation."""
        self.recorded.check()  # now rather than when the bank is done
        for name, count, seed in (("bank", num_shards, TRAIN_SEED), ("bank-validation", 1, VALIDATION_SEED)):
            pool = self.pool_size.draw()
            for path in build_bank(self.folder / name, count, seed, self.machine.num_workers, pool):
                self.report(f"bank: {path.name}")

    def recordings(self) -> None:
        """Real people's recordings with timed words and phones, if any are given."""
        self.recorded.build(self.machine.num_workers, self.report)

    def _is_spent(self, stage: str, minutes: float) -> bool:
        """Whether earlier runs spent a stage's time; what it needs is then not made ready either."""
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            return False
        spent_s = torch.load(path, weights_only=True, map_location="cpu", mmap=True)["spent_s"]
        if spent_s >= 60 * minutes:
            self.report(f"{stage}: its {minutes:g} minutes are spent; --{stage}-minutes gives it more")
        return bool(spent_s >= 60 * minutes)

    def _shards(self, name: str) -> list[Path]:
        """The shards in a folder that the stage of that name fills.

        Raises CheckpointError if there is none.
        """
        paths = sorted((self.folder / name).glob("*.npz"))
        if not paths:
            stage = name.removesuffix("-validation")
            raise CheckpointError(f"{self.folder / name} holds no shard; run the stage `{stage}` first")
        return paths

    def codec(self, minutes: float) -> None:
        """Train the codec."""
        if self._is_spent("codec", minutes):
            return
        dials = CodecDials(minutes=minutes)
        scale = self.machine.batch_scale
        dials = replace(dials, caller_clips=scale * dials.caller_clips, agent_clips=scale * dials.agent_clips)
        paths, sentences = self._shards("bank"), agent_sentences(self.pool_size)
        training = CodecTraining(self.config.codec, dials, self.folder, self.machine.device)
        self.recorded.note_heard(anew=not training.resume())

        def draw(share: Share) -> Iterator[ClipBatch]:
            bank = GrowingBank(paths, load_shard, share)
            return clip_batches(self.recorded.mix(bank.draw, share), sentences, dials, share)

        training.run(self._feed(draw, training.steps), self.report)

    def frozen_codec(self) -> Codec:
        """The trained codec: gain folded in, weights as they will be stored.

        Raises CheckpointError if it has not been trained, or not for long enough to have codebooks.
        """
        trainee = Trainee(self.config.codec)
        trainee.load_state_dict(self._checkpoint("codec"))
        if not trainee.codec.quantizer.rvq_first.codebooks[0]._initialized:
            raise CheckpointError(
                f"{self.folder / 'codec.pt'} has no codebooks: its time ended before they were placed; "
                "give the codec more --codec-minutes"
            )
        return freeze(trainee.codec).to(self.machine.device)

    def _checkpoint(self, stage: str) -> dict[str, Tensor]:
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; run the stage `{stage}` first")
        weights: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["module"]
        return weights

    def tokens(self) -> None:
        """Every stem as the engine will hear it."""
        codec = self.frozen_codec()
        for source, target in (("bank", "tokens"), ("bank-validation", "tokens-validation")):
            self._shards(source)
            folders = self.folder / source, self.folder / target
            for path in build_tokens(codec, *folders, 1, self.machine.num_workers):
                self.report(f"tokens: {path.name}")

    def lm(self, minutes: float) -> None:
        """Train the language model."""
        if self._is_spent("lm", minutes):
            return
        codec, stems = self.frozen_codec(), self._stems("tokens")
        dials = LmDials(minutes=minutes)
        dials = replace(dials, calls=self.machine.batch_scale * dials.calls)
        library = encode_library(codec, pool_sentences(self.pool_size.draw()))
        writer = Scriptwriter(library, self._tokenizer(), dials.num_columns)
        training = LmTraining(
            self.config.lm, dials, self.folder, writer.silence, self._validation(writer), self.machine.device
        )
        training.resume()

        def draw(share: Share) -> Iterator[CallBatch]:
            return call_batches(stems, writer, dials, share)

        training.run(self._feed(draw, training.steps), self.report)

    def _tokenizer(self) -> TextTokenizer:
        """The folder's alphabet, made if there is none.

        Raises CheckpointError if it was made for an order line that could not delegate.
        """
        folder = self.folder / "model"
        if not (folder / TOKENIZER_FILE).exists():
            train_tokenizer(folder)
        tokenizer = load_text_tokenizer(folder)
        if tokenizer.delegate < 0:
            raise CheckpointError(
                f"{folder / TOKENIZER_FILE} has no {DELEGATE_PIECE}: it is of an older order line; "
                f"remove it, and {self.folder / 'lm.pt'} if that is there"
            )
        return tokenizer

    def _stems(self, name: str) -> list[TokenStem]:
        return [stem for path in self._shards(name) for stem in load_stems(path)]

    def _validation(self, writer: Scriptwriter, count: int = 24) -> list[Call]:
        stems = self._stems("tokens-validation")
        rng = random.Random(VALIDATION_SEED)
        return [writer.draw(rng.choice(stems), rng) for _ in range(count)]

    def voice(self, minutes: float) -> None:
        """Train the codec's decoder on the agent's voice."""
        if self._is_spent("voice", minutes):
            return
        dials = VoiceDials(minutes=minutes)
        dials = replace(dials, clips=self.machine.batch_scale * dials.clips)
        sentences = agent_sentences(self.pool_size)
        training = VoiceTraining(self.frozen_codec(), sentences, dials, self.folder)
        training.resume()
        training.run(self._feed(training.batches, training.steps), self.report)

    def export(self, directory: Path) -> None:
        """Write the model folder that the engine loads.

        `SOURCES.md` lists the recordings that the codec was trained on; a stale one goes if there were none.
        """
        codec, lm = Codec(self.config.codec), Lm(self.config.lm)
        codec.load_state_dict(self._checkpoint("voice"))
        lm.load_state_dict(self._checkpoint("lm"))
        directory.mkdir(parents=True, exist_ok=True)
        save_module(codec, directory / "codec.safetensors", torch.float16)
        save_module(lm, directory / "lm.safetensors", torch.float16)
        text = json.dumps(self.config.to_json(), indent=2)
        (directory / "config.json").write_text(text + "\n", encoding="utf-8")
        (directory / TOKENIZER_FILE).write_bytes((self.folder / "model" / TOKENIZER_FILE).read_bytes())
        self.recorded.export(directory)
        self.report(f"model folder: {directory}")


@cache
def agent_sentences(size: PoolSize) -> list[AgentSentence]:
    """What the agent's voice is taught on: every line, and strings of words off the order line."""
    return pool_sentences(size.draw()) + [speak(text) for text in other_texts(OTHER_SENTENCES, 1)]


def freeze(codec: Codec) -> Codec:
    """Fold the training gain into the first layer, round to what will be stored: codes move no more."""
    with torch.no_grad():
        codec.encoder.model[0].conv.conv.weight.mul_(INPUT_GAIN)  # type: ignore[union-attr,operator]
        for tensor in codec.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return codec.eval()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `offhook train`."""
    default = Path.home() / ".cache" / "offhook" / "train"
    parser.add_argument("--folder", type=Path, default=default, help=f"working folder (default {default})")
    parser.add_argument(
        "--out", type=Path, default=BUILTIN, help="model folder to write (default: the built-in one)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that prepare batches (default: none on a CPU, beside CUDA all cores but one)",
    )
    parser.add_argument(
        "--batch-scale",
        type=int,
        help=f"how many times a CPU core's batch a step takes (default 1, with CUDA {CUDA_BATCH_SCALE})",
    )
    parser.add_argument(
        "--only", choices=STAGES, help="this stage alone, on what the folder holds (default: all, in order)"
    )
    add_recordings_option(parser)
    parser.add_argument("--shards", type=int, default=60, help="bank shards of 40 callers each (default 60)")
    parser.add_argument(
        "--pool-orders", type=int, default=NUM_ORDERS, help=f"orders that calls are about ({NUM_ORDERS})"
    )
    parser.add_argument(
        "--pool-numbers", type=int, default=NUM_NUMBERS, help=f"numbers that callers leave ({NUM_NUMBERS})"
    )
    parser.add_argument("--codec-minutes", type=float, default=35, help="time for the codec (default 35)")
    parser.add_argument("--lm-minutes", type=float, default=60, help="the language model's time (default 60)")
    parser.add_argument("--voice-minutes", type=float, default=15, help="the agent's voice's (default 15)")


def machine(options: argparse.Namespace) -> Machine:
    """What the options say, and for the rest what suits the device."""
    on_cuda = options.device.startswith("cuda")
    workers = max(1, (os.cpu_count() or 1) - 1) if on_cuda else 0
    return Machine(
        options.device,
        workers if options.workers is None else options.workers,
        options.batch_scale or (CUDA_BATCH_SCALE if on_cuda else 1),
    )


def train(options: argparse.Namespace, report: Report) -> None:
    """Run the stages; what an earlier run finished is not done again."""
    torch.set_num_threads(1)
    size = PoolSize(options.pool_orders, options.pool_numbers)
    pipeline = Pipeline(options.folder, machine(options), report, options.recordings, size)
    stages: dict[str, Callable[[], None]] = {
        "bank": lambda: pipeline.bank(options.shards),
        "recordings": pipeline.recordings,
        "codec": lambda: pipeline.codec(options.codec_minutes),
        "tokens": pipeline.tokens,
        "lm": lambda: pipeline.lm(options.lm_minutes),
        "voice": lambda: pipeline.voice(options.voice_minutes),
        "export": lambda: pipeline.export(options.out),
    }
    for name in [options.only] if options.only else STAGES:
        report(f"stage {name}")
        stages[name]()
