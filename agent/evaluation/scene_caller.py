"""A caller who plays a scene: its steps in answer to what is heard, its noise, its echo."""

from __future__ import annotations

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.scenes import Scene
from agent.evaluation.script import SaidTurn, ScriptedCaller
from agent.evaluation.stimuli import LiveEcho
from telephony.endpoint import FRAME_SAMPLES


class SceneCaller:
    """A speaker for a placed or a virtual call."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._caller = ScriptedCaller(scene.steps)
        self._bed_at = 0
        self._live_echo = LiveEcho(scene.echo) if scene.echo is not None else None

    @property
    def said(self) -> list[SaidTurn]:
        """The steps that were begun."""
        return self._caller.said

    def __call__(self, heard: Pcm) -> Pcm | None:
        """One frame of the call, float32 [1920] each way; None when the scene is over."""
        said = self._caller(heard)
        if said is None:
            return None
        return np.asarray(np.clip(said + self._bed() + self._echo(heard), -1.0, 1.0), np.float32)

    def _bed(self) -> Pcm | float:
        if self.scene.bed is None:
            return 0.0
        at = np.arange(self._bed_at, self._bed_at + FRAME_SAMPLES) % len(self.scene.bed)
        self._bed_at += FRAME_SAMPLES
        bed: Pcm = self.scene.bed[at]
        return bed

    def _echo(self, heard: Pcm) -> Pcm | float:
        return self._live_echo.push(heard) if self._live_echo is not None else 0.0
