"""`offhook train`: every stage in order, each taken up where it was stopped. CPU or CUDA.

The working folder holds everything (bank, checkpoints, tokens); the model folder gets the weights that ship.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from model.codec import Codec
from model.errors import CheckpointError
from model.order_line import CALM_LINES, Tone
from model.tokenizer import ANNOUNCE_PIECE, TOKENIZER_FILE, TextTokenizer, load_text_tokenizer
from model.training import agent_store
from model.training.acoustics import Acoustics
from model.training.agent_store import ANNOUNCED, LINES, stored_sentences
from model.training.agent_voice import AgentSentence, pool_sentences, speak_told
from model.training.announcement_texts import announcement_texts, number_texts
from model.training.announcements import AnnouncingScriptwriter
from model.training.bank import build_bank, load_shard
from model.training.closed_loop import Rehearsal, rehearsals
from model.training.codec_clips import ClipBatch, clip_batches
from model.training.codec_stage import CodecDials, CodecTraining
from model.training.feed import Arrivals, GrowingBank, Share, feed
from model.training.legs import Leg
from model.training.lm_stage import CallBatch, Callers, LmDials, LmTraining, call_batches
from model.training.options import Machine, Plan
from model.training.pool import Pool
from model.training.recorded_stems import pool_with_orders
from model.training.recordings import RecordedCallers
from model.training.results import export_model, frozen_codec
from model.training.sizes import builtin_config, keep_to_size
from model.training.stage import Report
from model.training.start import load_codec, load_lm
from model.training.tokenizer_stage import train_tokenizer
from model.training.tokens_stage import CODEC_FILE, TokenStem, build_tokens, load_stems
from model.training.tone_bank import build_tone_bank
from model.training.tone_stage import ToneDials, ToneTraining, load_tone_clips
from model.training.voice_stage import VoiceDials, VoiceTraining

TRAIN_SEED, VALIDATION_SEED, ANNOUNCED_SEED = 1_000_000, 9_000_000, 1
NUM_VALIDATION_CALLS, NUM_REHEARSALS = 24, 24
TONES, TONES_VALIDATION = "bank-tones", "bank-tones-validation"
NUM_PLAIN_SHARDS = 3  # of callers, for the listener to hear synthesisers as they are
RECORDED_PASSES = 3  # over different lines, of the recorded people that tones are told from

Batch = TypeVar("Batch")


class Pipeline:
    """The stages over one working folder; each takes up where an earlier run stopped it."""

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        report: Report,
        recorded: RecordedCallers | None = None,
        plan: Plan | None = None,
        *,
        size: str = "small",
        leg: Leg | None = None,
    ) -> None:
        self.folder, self.machine, self.report = folder, machine, report
        self.recorded = recorded or RecordedCallers((), folder)
        self.plan, self.leg = plan or Plan(), leg or Leg()
        self.acoustics = Acoustics(self.plan.hardness, self.recorded.stores, self.recorded.selection)
        self.config = builtin_config(size)
        folder.mkdir(parents=True, exist_ok=True)
        keep_to_size(self.config, folder)
        torch.backends.cudnn.benchmark = True  # every batch of a stage has one shape

    def feed(self, draw: Callable[[Share], Iterator[Batch]], steps: int) -> Iterator[Batch]:
        """Batches as this machine prepares them."""
        machine = self.machine
        return feed(draw, steps, machine.num_workers, pin=machine.device.startswith("cuda"))

    def _each(self, stage: str, paths: Iterator[Path]) -> None:
        """Tell of each shard as it comes. Raises LegOver between two of them."""
        for path in paths:
            self.report(f"{stage}: {path.name}")
            self.leg.check()

    def bank(self) -> None:
        """Synthetic callers, some in every tone, small banks for validation, more sentences of the agent."""
        self.recorded.check()  # now rather than when the bank is done
        plan, pool, workers = self.plan, self.plan.pool_size.draw(), self.machine.num_workers
        for name, count, seed in (
            ("bank", plan.num_shards, TRAIN_SEED),
            ("bank-validation", 1, VALIDATION_SEED),
        ):
            self._each("bank", build_bank(self.folder / name, count, seed, workers, pool))
        for name, count, seed in (
            (TONES, plan.num_tone_shards, TRAIN_SEED),
            (TONES_VALIDATION, 1, VALIDATION_SEED),
        ):
            self._each("bank", build_tone_bank(self.folder / name, count, seed, workers))
        texts = announcement_texts(plan.num_announced, ANNOUNCED_SEED)
        texts += number_texts(plan.num_read_back, ANNOUNCED_SEED)
        announced = agent_store.build_sentences(
            self.folder / "agent", ANNOUNCED, texts, lambda some: [speak_told(text) for text in some]
        )
        self._each("bank", announced)

    def recordings(self) -> None:
        """Real people's recordings, if any are given; then the agent's lines for all that is ordered."""
        self.recorded.build(self.machine.num_workers, self.report)
        self.leg.check()
        pool = self.plan.pool_size.draw()
        if paths := self.recorded.write_bank(self.folder / self._recorded("bank"), pool.numbers[Tone.CALM]):
            pool = pool_with_orders(pool, (stem for path in paths for stem in load_shard(path)))
        for path in agent_store.build_together(self.folder / "agent", LINES, *_lines(pool)):
            self.report(f"recordings: {path.name}")

    def _recorded(self, what: str) -> str:
        """The folder of recorded callers' bank or tokens: one for each selection of recordings."""
        return f"{what}-recorded{self.recorded.selection.tag}"

    def spent_s(self, stage: str) -> float:
        """How much of a stage's time earlier runs spent."""
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            return 0.0
        return float(torch.load(path, weights_only=True, map_location="cpu", mmap=True)["spent_s"])

    def _is_spent(self, stage: str, minutes: float) -> bool:
        """Whether a stage's time is spent; what it needs is then not made ready either."""
        is_spent = self.spent_s(stage) >= 60 * minutes
        if is_spent:
            self.report(f"{stage}: its {minutes:g} minutes are spent; --{stage}-minutes gives it more")
        return is_spent

    def shards(self, name: str) -> list[Path]:
        """The shards in a folder that the stage of that name fills.

        Raises CheckpointError if there is none.
        """
        stage = name.split("-")[0]
        paths = sorted((self.folder / name).glob(f"{stage}-*.npz"))
        if not paths:
            raise CheckpointError(f"{self.folder / name} holds no shard; run the stage `{stage}` first")
        return paths

    def sentences(self) -> list[AgentSentence]:
        """What the agent's voice is taught on. Raises CheckpointError if the bank has none."""
        return stored_sentences(self.folder / "agent")

    def codec(self) -> None:
        """Train the codec."""
        minutes = self.plan.codec_minutes
        if self._is_spent("codec", minutes):
            return
        dials = CodecDials(minutes=minutes).scaled(self.machine.batch_scale)
        dials = dials if self.plan.start_from is None else dials.gentle()
        counts = dials.caller_clips, dials.agent_clips
        paths, sentences = self.shards("bank"), self.sentences()
        training = CodecTraining(self.config.codec, dials, self.folder, self.machine.device)
        is_resumed = training.resume()
        if not is_resumed and self.plan.start_from is not None:
            load_codec(training.trainee.codec, self.plan.start_from)
            training.take_over()
        self.recorded.note_heard(anew=not is_resumed)

        def draw(share: Share) -> Iterator[ClipBatch]:
            bank = GrowingBank(paths, load_shard, share)
            callers = self.recorded.mix(bank.draw, share)
            return clip_batches(callers, sentences, counts, share, self.acoustics)

        training.run(self.feed(draw, training.steps), self.report, self.leg)

    def _frozen_codec(self) -> Codec:
        return frozen_codec(self.folder, self.config.codec).to(self.machine.device)

    def tone(self) -> None:
        """Train the listener to how callers speak."""
        minutes = self.plan.tone_minutes
        if self._is_spent("tone", minutes):
            return
        codec = self._frozen_codec()
        assert codec.prosody is not None
        self.report("tone: every utterance over a line")
        people = sorted((self.folder / self._recorded("bank")).glob("bank-*-0-*.npz"))  # at their own speed
        load = partial(load_tone_clips, codec, acoustics=self.acoustics)
        clips = load(paths=self.shards(TONES), seed=TRAIN_SEED)
        validation = load(paths=self.shards(TONES_VALIDATION), seed=VALIDATION_SEED)
        plain = [
            load(paths=paths, seed=TRAIN_SEED, calm_only=True)
            for paths in (self.shards("bank")[:NUM_PLAIN_SHARDS], people * RECORDED_PASSES)
        ]
        dials = ToneDials(minutes=minutes)
        training = ToneTraining(codec.prosody, clips, validation, dials, self.folder, plain=plain)
        if not training.resume():
            training.settle()
        training.run(training.batches(Share(0, 1, training.steps)), self.report, self.leg)

    def tokens(self) -> None:
        """Every stem as the engine will hear it, and the agent's sentences."""
        codec, workers = self._frozen_codec(), self.machine.num_workers
        folders = [("bank", "tokens"), ("bank-validation", "tokens-validation")]
        if (self.folder / self._recorded("bank")).exists():
            folders.append((self._recorded("bank"), self._recorded("tokens")))
        for source, _ in folders:
            self.shards(source)
        sounds, folder = self.folder / "agent", self.folder / "tokens"
        echoed = [sentence.pcm for sentence in agent_store.first_lines(sounds, len(CALM_LINES))]
        lines = range(1, 1 + self.plan.num_lines)
        for line, (source, target) in ((line, places) for line in lines for places in folders):
            if line > 1 and source == "bank-validation":
                continue
            places = self.folder / source, self.folder / target
            is_warped = line > 1 and source == "bank"  # the recorded ones' bank has each at several speeds
            self._each(
                "tokens",
                build_tokens(codec, *places, line, workers, self.acoustics, echoed, is_warped=is_warped),
            )
        said = agent_store.encode_sentences(codec, folder / CODEC_FILE, sounds, folder, workers)
        self._each("tokens", said)

    def lm(self) -> None:
        """Train the language model."""
        minutes = self.plan.lm_minutes
        if self._is_spent("lm", minutes):
            return
        library = self.folder / "tokens"
        self.shards("tokens")  # there are some, or it says what makes them
        agent_store.library_shards(library, ANNOUNCED)
        arrivals = Arrivals(library, "tokens-*.npz", load_stems)
        sentences = Arrivals(library, agent_store.library_pattern(ANNOUNCED), agent_store.load_said)
        stems = arrivals.new()
        has_recorded = (self.folder / self._recorded("tokens")).exists()
        recorded = self._stems(self._recorded("tokens")) if has_recorded else []
        callers, tokenizer = Callers(stems, recorded, self.recorded.share), self._tokenizer()
        dials = LmDials(minutes=minutes)
        dials = replace(dials, calls=self.machine.batch_scale * dials.calls)
        dials = dials if self.plan.start_from is None else dials.gentle()
        writer = AnnouncingScriptwriter(
            agent_store.load_library(library, LINES),
            sentences.new(),
            tokenizer,
            dials.num_columns,
            hears_manner=self.config.codec.prosody.codes > 0,
        )
        held_back, rng = self._stems("tokens-validation"), random.Random(VALIDATION_SEED)
        training = LmTraining(
            self.config.lm,
            dials,
            self.folder,
            writer.silence,
            [writer.draw(rng.choice(held_back), rng) for _ in range(NUM_VALIDATION_CALLS)],
            self.machine.device,
            rehearsal=self._rehearsal(writer, held_back),
        )
        if not training.resume() and self.plan.start_from is not None:
            num_new = load_lm(training.lm, self.plan.start_from, tokenizer)
            self.report(f"lm: begins with {self.plan.start_from}, {num_new} text tokens are new")

        def look() -> None:
            stems.extend(arrivals.new())
            writer.learn(sentences.new())

        def draw(share: Share) -> Iterator[CallBatch]:
            return call_batches(callers, writer, dials, share, look)

        training.run(self.feed(draw, training.steps), self.report, self.leg)

    def _rehearsal(self, writer: AnnouncingScriptwriter, stems: Sequence[TokenStem]) -> Rehearsal:
        calls = rehearsals(writer, stems, random.Random(VALIDATION_SEED + 1), NUM_REHEARSALS)
        return Rehearsal(calls, writer.tokenizer, writer.silence, self.config.sampling)

    def _tokenizer(self) -> TextTokenizer:
        """The folder's alphabet, made if there is none.

        Raises CheckpointError if it was made for an order line that could not delegate or announce.
        """
        folder = self.folder / "model"
        if not (folder / TOKENIZER_FILE).exists():
            train_tokenizer(folder)
        tokenizer = load_text_tokenizer(folder)
        if min(tokenizer.delegate, tokenizer.announce) < 0:
            raise CheckpointError(
                f"{folder / TOKENIZER_FILE} has no {ANNOUNCE_PIECE}: it is of an older order line; "
                f"remove it, and {self.folder / 'lm.pt'} if that is there"
            )
        return tokenizer

    def _stems(self, name: str) -> list[TokenStem]:
        return [stem for path in self.shards(name) for stem in load_stems(path)]

    def voice(self) -> None:
        """Train the codec's decoder on the agent's voice."""
        minutes = self.plan.voice_minutes
        if self._is_spent("voice", minutes):
            return
        dials = VoiceDials(minutes=minutes)
        dials = replace(dials, clips=self.machine.batch_scale * dials.clips)
        sentences = self.sentences()
        training = VoiceTraining(self._frozen_codec(), sentences, dials, self.folder)
        training.resume()
        training.run(self.feed(training.batches, training.steps), self.report, self.leg)

    def export(self, directory: Path) -> None:
        """Write the model folder that the engine loads.

        `SOURCES.md` lists the recordings that the codec was trained on; a stale one goes if there were none.
        """
        export_model(self.folder, self.config, directory)
        self.recorded.export(directory)
        self.report(f"model folder: {directory}")


def _lines(pool: Pool) -> tuple[list[str], Callable[[], list[AgentSentence]]]:
    """The names of a pool's lines, and what speaks them."""
    names = [f"{line.text} (softly)" if line.is_soft else line.text for line in pool.lines()]
    return names, lambda: pool_sentences(pool)
