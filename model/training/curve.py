"""How well the codec hears real people, against the number of their recordings that it learnt from.

Each point is a short training from the same weights, its own folder beneath `curve`, so a broken-off curve is
taken up where it stopped. Asked is the phone at every moment of clips of the fold that was left out, over
random telephone lines, the same for every point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.errors import RecordingError
from model.training.bank import load_shard
from model.training.codec_clips import ClipBatch, caller_clip, clip_batches
from model.training.codec_stage import CodecDials, CodecTraining, phone_accuracy
from model.training.feed import GrowingBank, Share
from model.training.folds import Selection
from model.training.legs import LegOver
from model.training.pipeline import Pipeline
from model.training.recordings import RecordedCallers
from model.training.results import stage_weights
from model.training.start import load_codec

RECORDED_SHARE = 0.5  # of the callers' clips, where there are recordings
NUM_ASKED_CLIPS, ASKED_SEED = 96, 5
CURVE_FILE, CURVE_PICTURE = "curve.json", "curve.png"


@dataclass(frozen=True, slots=True)
class _LeftOut(Selection):
    """The clips of the left-out fold alone."""

    def choose(self, folds: Mapping[str, int]) -> frozenset[str]:
        return frozenset(clip for clip, fold in folds.items() if fold == self.left_out_fold)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What was learnt from so many recordings of each corpus."""

    num_recordings: int
    phone_accuracy: float  # of the held-out clips' moments with speech, 0 to 1
    steps: int


def read_counts(text: str) -> list[int]:
    """Numbers between commas. Raises RecordingError for anything else."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [-1]
    if counts[0] < 0:
        raise RecordingError(f"--curve {text!r} is no list of numbers of recordings such as 0,50,100")
    return counts


class Curve:
    """The points of one curve; `places` are the recordings, `fold` the one that is asked about."""

    def __init__(self, pipeline: Pipeline, places: Sequence[Path], fold: int, minutes: float) -> None:
        if not places:
            raise RecordingError("--curve needs --recordings: it is about learning from them")
        self._pipeline, self._places, self._fold, self._minutes = pipeline, places, fold, minutes
        self.folder = pipeline.folder / "curve"

    def measure(self, counts: Sequence[int]) -> list[CurvePoint]:
        """Train and ask for each number; writes the points and a picture of them beneath the folder."""
        asked = self._asked()
        points = []
        for count in counts:
            training = self._trained(count)
            points.append(CurvePoint(count, self._accuracy(training, asked), training.steps))
            self._pipeline.report(f"curve: {points[-1]}")
            self._write(points)
        return points

    def _asked(self) -> tuple[Tensor, Tensor]:
        """Held-out clips float32 [N, T] and their phones int64 [N, 2F]."""
        store, left_out = self._pipeline.folder / "recordings", _LeftOut(self._fold)
        callers = RecordedCallers(self._places, self._pipeline.folder, left_out)
        share = Share(0, 1, ASKED_SEED)
        stems = [bank.drawing(share) for bank in callers.banks() if bank.teaches_hearing]
        if not stems:
            raise RecordingError(f"{store} has no clip in fold {self._fold}: give another --fold")
        rng, draws = share.rng, share.draws
        clips = [caller_clip(stems[n % len(stems)](rng), rng, draws) for n in range(NUM_ASKED_CLIPS)]
        pcm, labels = (np.stack(parts) for parts in zip(*clips, strict=True))
        return torch.from_numpy(pcm), torch.from_numpy(labels)

    def _trained(self, count: int) -> CodecTraining:
        pipeline = self._pipeline
        folder = self.folder / str(count)
        folder.mkdir(parents=True, exist_ok=True)
        dials = CodecDials(minutes=self._minutes).scaled(pipeline.machine.batch_scale).gentle()
        training = CodecTraining(pipeline.config.codec, dials, folder, pipeline.machine.device)
        if not training.resume():
            self._begin(training)
        counts = dials.caller_clips, dials.agent_clips
        paths, sentences = pipeline.shards("bank"), pipeline.sentences()
        selection = Selection(self._fold, count)
        callers = RecordedCallers(self._places if count else (), pipeline.folder, selection, RECORDED_SHARE)

        def draw(share: Share) -> Iterator[ClipBatch]:
            bank = GrowingBank(paths, load_shard, share)
            stems = callers.mix(bank.draw, share)
            return clip_batches(stems, sentences, counts, share, pipeline.acoustics)

        training.run(pipeline.feed(draw, training.steps), pipeline.report, pipeline.leg)
        if not training.is_done:
            raise LegOver
        return training

    def _begin(self, training: CodecTraining) -> None:
        """With the folder's codec, or else the given model folder's."""
        pipeline = self._pipeline
        if pipeline.plan.start_from is not None and not (pipeline.folder / "codec.pt").exists():
            load_codec(training.trainee.codec, pipeline.plan.start_from)
            training.take_over()
        else:
            training.trainee.load_state_dict(stage_weights(pipeline.folder, "codec"))
            training.quantizing = True

    @torch.no_grad()
    def _accuracy(self, training: CodecTraining, asked: tuple[Tensor, Tensor]) -> float:
        device = training.device
        hits = [
            phone_accuracy(training.trainee, pcm.to(device), labels.to(device))
            for pcm, labels in [
                (asked[0][n : n + 8], asked[1][n : n + 8]) for n in range(0, len(asked[0]), 8)
            ]
        ]
        return sum(right for right, _ in hits) / max(1, sum(asked_of for _, asked_of in hits))

    def _write(self, points: Sequence[CurvePoint]) -> None:
        rows = [
            {"recordings": p.num_recordings, "phone_accuracy": round(p.phone_accuracy, 4), "steps": p.steps}
            for p in points
        ]
        told = {"fold": self._fold, "minutes": self._minutes, "points": rows}
        (self.folder / CURVE_FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        draw_curve(points, self.folder / CURVE_PICTURE)


def draw_curve(points: Sequence[CurvePoint], picture: Path) -> None:
    """A PNG of the points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot([p.num_recordings for p in points], [100 * p.phone_accuracy for p in points], marker="o")
    axis.set_xlabel("recordings of each corpus learnt from")
    axis.set_ylabel("phones heard right in held-out recordings, %")
    axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=90)
