"""The prompt before a call: voice, silence, role, silence, as columns that are read in one pass.

Source: PersonaPlex (arXiv 2602.06053; positions as its published server makes them). Each prompt frame says
what text, agent and caller streams hold for 80 ms; frame 0 is never read, because a call's first column holds
only initial tokens. The caller's side is a steady tone that no caller makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ZERO_TOKEN, LmConfig
from model.errors import PromptError
from model.lm import Lm
from model.tokenizer import PAD


@dataclass(frozen=True)
class PromptFrames:
    """What the streams hold, a row per 80 ms: int64 [N], [N, agent_q], [N, caller_q]."""

    text: Tensor
    agent: Tensor
    caller: Tensor

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class ReadyVoice:
    """A voice that was published as what the model was given, not as codes: its first N - 1 columns embedded,
    float [N - 1, dim], and the tokens int64 [n_q + 1] of column N - 1 and (late codebooks only) column N."""

    embedded: Tensor
    last: Tensor
    pending: Tensor


def prompt_frames(
    voice: Tensor, role: list[int], silence: Tensor, tone: Tensor, pause_frames: int
) -> PromptFrames:
    """Voice, pause, role, pause. `voice` int64 [N, agent_q] are its codes (N may be 0), `role` text tokens,
    one per frame; `silence` int64 [agent_q] and `tone` int64 [caller_q] are one frame each."""
    text = [PAD] * (len(voice) + pause_frames) + role + [PAD] * pause_frames
    agent = torch.cat([voice, silence[None].expand(len(text) - len(voice), -1)])
    return PromptFrames(torch.tensor(text), agent, tone[None].expand(len(text), -1))


def prompt_columns(frames: PromptFrames, config: LmConfig) -> Tensor:
    """Columns 0 .. N - 1 + max_delay: int64 [n_q + 1, N + max_delay].

    A stream that is late by d holds frame p - d in column p; up to column d its initial token, so frame 0 is
    left out. What the prompt does not determine (behind its end) is 0.
    """
    length = len(frames)
    streams = torch.cat([frames.text[:, None], frames.agent, frames.caller], dim=1).T  # [n_q + 1, N]
    columns = torch.zeros(config.num_streams, length + config.max_delay, dtype=torch.int64)
    columns[len(config.delays) :] = ZERO_TOKEN  # nothing was written down
    for stream, delay in enumerate(config.delays):
        columns[stream, : delay + 1] = config.text_card if stream == 0 else config.card
        columns[stream, delay + 1 : delay + length] = streams[stream, 1:]
    return columns


@dataclass(frozen=True)
class Prompt:
    """A prompt ready for `Generator.prefill`."""

    embedded: Tensor  # float [1, N - 1, dim]
    pending: Tensor  # int64 [n_q + 1, max_delay + 1]: columns N - 1 ..


def ready_prompt(lm: Lm, frames: PromptFrames, voice: ReadyVoice | None = None) -> Prompt:
    """Embed a prompt; a ready voice stands for the first frames, whose codes are then not looked at.

    Raises PromptError if the prompt is too short to have an end, or the voice is another model's.
    """
    config, length = lm.config, len(frames)
    device = lm.text_linear.weight.device
    columns = prompt_columns(frames, config)
    parts = []
    start = 0
    if voice is not None:
        start = len(voice.embedded)
        if voice.embedded.shape[1] != config.dim or len(voice.last) != config.num_streams:
            raise PromptError(
                f"the voice was made for a model of width {voice.embedded.shape[1]} with {len(voice.last)} "
                f"streams; this one has {config.dim} and {config.num_streams}"
            )
        columns[:, start] = voice.last
        late = torch.tensor(config.all_delays) > 0
        columns[late, start + 1] = voice.pending[late]
        parts.append(voice.embedded[None].to(device, lm.text_linear.weight.dtype))
    if length < start + 2:
        raise PromptError(f"a prompt of {length} frames is too short; give a role or a voice")
    parts.append(lm.embed(columns[None, :, start : length - 1].to(device)))
    return Prompt(torch.cat(parts, dim=1), columns[:, length - 1 :].to(device))
