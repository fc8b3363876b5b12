"""How callers are handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from agent.section import Section

TransferMode = Literal["blind", "attended"]


class TransferSettings(Section):
    """How callers are handed over; to whom is OFFHOOK_CALL__TRANSFER_TARGET, or what an operator asks for."""

    mode: TransferMode = "blind"  # of transfers that the model asks for
    accept_timeout_s: float = Field(default=10.0, gt=0, le=120)  # a REFER that nobody answers has failed
    answer_timeout_s: float = Field(default=30.0, gt=0, le=300)  # so long the target may ring
    hold_music: Path | None = None  # WAV or FLAC; None: a soft beep
    # attended only: read to the target before the caller is joined; sent as the INVITE's Subject
    speak_summary: bool = True
    send_summary: bool = False
