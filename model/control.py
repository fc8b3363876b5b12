"""What one call may ask of the engine. Plain values: no torch here, so that whoever only passes them on stays
light.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallProfile:
    """How one call's agent is set up; the default is the model as it is.

    None stands for the model's own sampling. A temperature of 0 takes the likeliest token; a top-k of 0 draws
    from all of them.
    """

    voice: str = ""  # one of the model's voices
    role: str = ""  # what the agent is told of itself before the caller is heard
    text_temperature: float | None = None
    text_top_k: int | None = None
    audio_temperature: float | None = None
    audio_top_k: int | None = None
    text_bias: tuple[tuple[int, float], ...] = ()  # text token, what is added to its logit
    banned: tuple[int, ...] = ()  # text tokens that are never drawn
