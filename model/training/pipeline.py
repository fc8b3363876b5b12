"""`offhook train`: every stage in order, each taken up where it was stopped. CPU or CUDA.

The working folder holds everything (bank, checkpoints, tokens); the model folder gets the weights that ship.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import torch

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
from model.lm import Lm
from model.tokenizer import TOKENIZER_FILE, load_text_tokenizer
from model.training.agent_voice import AgentSentence, line_sentences, other_texts, speak
from model.training.bank import Stem, build_bank, load_shard
from model.training.codec_stage import INPUT_GAIN, CodecDials, CodecTraining
from model.training.dialogues import Call, Scriptwriter
from model.training.lm_stage import LmDials, LmTraining
from model.training.tokenizer_stage import train_tokenizer
from model.training.tokens_stage import TokenStem, build_tokens, encode_library, load_stems
from model.training.voice_stage import VoiceDials, VoiceTraining

TRAIN_SEED, VALIDATION_SEED = 1_000_000, 9_000_000
OTHER_SENTENCES = 200
NUM_CODEBOOKS = 6

Report = Callable[[str], None]


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


class Pipeline:
    """The stages over one working folder."""

    def __init__(self, folder: Path, device: str, report: Report) -> None:
        self.folder, self.device, self.report = folder, device, report
        self.config = builtin_config()
        folder.mkdir(parents=True, exist_ok=True)

    def bank(self, num_shards: int) -> None:
        """Synthetic callers, and a small bank for validation."""
        for path in build_bank(self.folder / "bank", num_shards, TRAIN_SEED):
            self.report(f"bank: {path.name}")
        for path in build_bank(self.folder / "bank-validation", 1, VALIDATION_SEED):
            self.report(f"bank: {path.name}")

    def _growing(self, pattern: str, load: Callable[[Path], list[Stem]]) -> Callable[[], list[Stem]]:
        """The bank, read one shard at a time so that training starts at once."""
        paths = iter(sorted((self.folder / "bank").glob(pattern)))
        loaded: list[Stem] = []
        calls = itertools.count()

        def stems() -> list[Stem]:
            if next(calls) % 10 == 0 and (path := next(paths, None)):
                loaded.extend(load(path))
            return loaded

        return stems

    def codec(self, minutes: float) -> Codec:
        """The trained codec, frozen: gain folded in, weights as they will be stored."""
        training = CodecTraining(self.config.codec, CodecDials(minutes=minutes), self.folder, self.device)
        training.resume()
        if not training.is_done:
            training.run(
                self._growing(f"bank-{TRAIN_SEED}-*.npz", load_shard), self._sentences(), self.report
            )
        return freeze(training.trainee.codec).to(self.device)

    @staticmethod
    def _sentences() -> list[AgentSentence]:
        return line_sentences() + [speak(text) for text in other_texts(OTHER_SENTENCES, 1)]

    def tokens(self, codec: Codec) -> None:
        """Every stem as the engine will hear it."""
        for source, target in (("bank", "tokens"), ("bank-validation", "tokens-validation")):
            for path in build_tokens(codec, self.folder / source, self.folder / target, 1):
                self.report(f"tokens: {path.name}")

    def lm(self, codec: Codec, minutes: float) -> Lm:
        """The trained language model."""
        tokenizer_folder = self.folder / "model"
        if not (tokenizer_folder / TOKENIZER_FILE).exists():
            train_tokenizer(tokenizer_folder)
        dials = LmDials(minutes=minutes)
        writer = Scriptwriter(encode_library(codec), load_text_tokenizer(tokenizer_folder), dials.num_columns)
        training = LmTraining(self.config.lm, dials, self.folder, writer, self.device)
        training.resume()
        if not training.is_done:
            stems = [s for path in sorted((self.folder / "tokens").glob("*.npz")) for s in load_stems(path)]
            training.run(lambda: stems, self._validation(writer), self.report)
        return training.lm

    def _validation(self, writer: Scriptwriter, count: int = 24) -> list[Call]:
        stems: list[TokenStem] = []
        for path in sorted((self.folder / "tokens-validation").glob("*.npz")):
            stems += load_stems(path)
        rng = random.Random(VALIDATION_SEED)
        return [writer.draw(rng.choice(stems), rng) for _ in range(count)]

    def voice(self, codec: Codec, minutes: float) -> Codec:
        """The codec whose decoder speaks in the agent's voice."""
        training = VoiceTraining(codec, self._sentences(), VoiceDials(minutes=minutes), self.folder)
        training.resume()
        if not training.is_done:
            training.run(self.report)
        return training.codec

    def export(self, codec: Codec, lm: Lm, directory: Path) -> None:
        """Write the model folder that the engine loads."""
        directory.mkdir(parents=True, exist_ok=True)
        save_module(codec, directory / "codec.safetensors", torch.float16)
        save_module(lm, directory / "lm.safetensors", torch.float16)
        text = json.dumps(self.config.to_json(), indent=2)
        (directory / "config.json").write_text(text + "\n", encoding="utf-8")
        (directory / TOKENIZER_FILE).write_bytes((self.folder / "model" / TOKENIZER_FILE).read_bytes())
        self.report(f"model folder: {directory}")


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
    parser.add_argument("--shards", type=int, default=60, help="bank shards of 40 callers each (default 60)")
    parser.add_argument("--codec-minutes", type=float, default=35, help="time for the codec (default 35)")
    parser.add_argument(
        "--lm-minutes", type=float, default=60, help="time for the language model (default 60)"
    )
    parser.add_argument(
        "--voice-minutes", type=float, default=15, help="time for the agent's voice (default 15)"
    )


def train(options: argparse.Namespace, report: Report) -> None:
    """Run all stages; what an earlier run finished is not done again."""
    torch.set_num_threads(1 if options.device == "cpu" else torch.get_num_threads())
    pipeline = Pipeline(options.folder, options.device, report)
    pipeline.bank(options.shards)
    codec = pipeline.codec(options.codec_minutes)
    pipeline.tokens(codec)
    lm = pipeline.lm(codec, options.lm_minutes)
    pipeline.export(pipeline.voice(codec, options.voice_minutes), lm, options.out)
