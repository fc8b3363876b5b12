"""How far each stage of a working folder is."""

from __future__ import annotations

from pathlib import Path

from model.training import agent_store
from model.training.legs import StageState
from model.training.pipeline import Pipeline


def stage_states(pipeline: Pipeline) -> list[StageState]:
    """The stages that take long, by the pipeline's plan; reads the folder, changes nothing."""
    plan, folder = pipeline.plan, pipeline.folder
    banks = [path for path in folder.glob("bank*") if path.is_dir()]
    num_recorded = sum(_count(path, "bank-*.npz") for path in banks if "recorded" in path.name)
    made = sum(_count(path, "bank-*.npz") for path in banks) - num_recorded
    num_told = plan.num_announced + plan.num_read_back
    num_announced = -(-num_told // agent_store.SENTENCES_PER_SHARD)
    num_lines = -(-len(plan.pool_size.draw().lines()) // agent_store.SENTENCES_PER_SHARD)
    sounds = folder / agent_store.AGENT
    encoded = sum(_count(path, "*.npz") for path in folder.glob("tokens*"))
    minutes = {
        "codec": plan.codec_minutes,
        "tone": plan.tone_minutes,
        "lm": plan.lm_minutes,
        "voice": plan.voice_minutes,
    }
    codec, tone, lm, voice = (
        StageState(stage, round(pipeline.spent_s(stage) / 60, 3), wanted, "minutes")
        for stage, wanted in minutes.items()
    )
    num_made = plan.num_shards + 1 + plan.num_tone_shards + 1
    num_tokens = 1 + plan.num_lines * (plan.num_shards + num_recorded) + num_announced + num_lines
    return [
        StageState("bank", made + _count(sounds, "announced-*.npz"), num_made + num_announced, "shards"),
        StageState("recordings", _count(sounds, "lines-*.npz"), num_lines, "shards of the agent's lines"),
        codec,
        tone,
        StageState("tokens", encoded, num_tokens, "shards"),
        lm,
        voice,
    ]


def _count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))
