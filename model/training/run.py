"""`offhook train`: what its options ask for, done."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from model.training import metrics
from model.training.curve import Curve, read_counts
from model.training.legs import Leg, LegOver, what_is_left
from model.training.options import STAGES, machine, plan
from model.training.packing import pack, unpack
from model.training.pipeline import Pipeline
from model.training.recordings import recorded_callers
from model.training.stage import Report
from model.training.states import stage_states


def train(options: argparse.Namespace, report: Report) -> None:
    """Run the stages, or what is asked for instead; what an earlier run finished is not done again."""
    torch.set_num_threads(options.threads)
    if options.watch:
        metrics.watch(options.folder)
    elif options.plot:
        metrics.plot(options.folder, options.plot)
        report(f"curves: {options.plot}")
    elif options.unpack:
        unpack(options.unpack, options.folder)
        report(f"unpacked into {options.folder}")
    else:
        _work(options, report)


def _work(options: argparse.Namespace, report: Report) -> None:
    pipeline = Pipeline(
        options.folder,
        machine(options),
        report,
        recorded_callers(options),
        plan(options),
        size=options.size,
        leg=Leg(options.leg_minutes),
    )
    try:
        _do(pipeline, options, report)
    except LegOver:
        report(f"leg over; {what_is_left(stage_states(pipeline))}")


def _do(pipeline: Pipeline, options: argparse.Namespace, report: Report) -> None:
    if options.status:
        for state in stage_states(pipeline):
            report(str(state))
    elif options.pack:
        for path in pack(pipeline, options.pack, options.pack_parts):
            report(f"packed: {path}")
    elif options.curve:
        counts = read_counts(options.curve)
        Curve(pipeline, options.recordings, options.fold or 0, options.curve_minutes).measure(counts)
    else:
        _run_stages(pipeline, options, report)


def _run_stages(pipeline: Pipeline, options: argparse.Namespace, report: Report) -> None:
    stages: dict[str, Callable[[], None]] = {
        "bank": pipeline.bank,
        "recordings": pipeline.recordings,
        "codec": pipeline.codec,
        "tone": pipeline.tone,
        "tokens": pipeline.tokens,
        "lm": pipeline.lm,
        "voice": pipeline.voice,
        "export": lambda: pipeline.export(options.out),
    }
    for name in [options.only] if options.only else STAGES:
        report(f"stage {name}")
        stages[name]()
        pipeline.leg.check()
