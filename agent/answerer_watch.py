"""Who took a call of ours, as the call goes on: the detector's verdict, and the beep. Event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from agent import metrics
from agent.machine_detection import Answerer, MachineDetector
from telephony.audio import Pcm

log = structlog.get_logger(__name__)


class AnswererWatch:
    """One call's; without a detector nobody is told anything."""

    def __init__(self, detector: MachineDetector | None, on_verdict: Callable[[Answerer], None]) -> None:
        self._detector, self._on_verdict = detector, on_verdict
        self.beeped = asyncio.Event()  # a machine takes a message now

    def push(self, pcm: Pcm, at_s: float) -> None:
        """What the far end said: float32 [FRAME_SAMPLES], and when on the call's clock."""
        detector = self._detector
        if detector is None or detector.verdict in (Answerer.HUMAN, Answerer.UNCERTAIN):
            return
        verdict = detector.push(pcm)
        if verdict is not None:
            metrics.ANSWERERS.labels(verdict.value).inc()
            log.info("answered_by", answerer=verdict.value, at_s=round(at_s, 2))
            self._on_verdict(verdict)
        if detector.has_beeped:
            self.beeped.set()
