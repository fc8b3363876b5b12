"""How a caller speaks, heard beside the words: one more code of the caller's in each frame.

A codec's codebooks keep which sounds there are. Of *how* they are said the built-in ones keep nothing: on its
codes a network told calm, hurried, angry and whispered speech apart in .29 of unknown voices' utterances,
where chance is .25; on what its convolutions give, in .71. So a small recurrent network listens to those, and
to the pitch besides (autocorrelations, as of Boersma, IFA Proceedings 17, 1993), and the language model reads
what it found as a further codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ, ProsodyConfig
from model.conv import CausalConv1d
from model.streaming import State

DECIMATION = 6  # to 4 kHz: what a pitch is told by lies below the telephone's first kilohertz
_RATE_HZ = SAMPLE_RATE_HZ // DECIMATION
_FILTER_TAPS, _PASS_HZ = 48, 1_600.0
WINDOW_SAMPLES, HOP_SAMPLES = 240, 80  # 60 and 20 ms at 4 kHz
LAGS = range(10, 67)  # 400 to 60 Hz
_OVERLAP_SAMPLES = WINDOW_SAMPLES - LAGS[-1]
WINDOWS_PER_FEATURE = FRAME_SAMPLES // 2 // DECIMATION // HOP_SAMPLES  # the codec's features come at 25 Hz
PITCH_DIM = WINDOWS_PER_FEATURE * (len(LAGS) + 1)
_QUIET = 1e-7  # power that counts as none
_LOUDNESS_SCALE = 0.25


class PitchFeatures(nn.Module):
    """How alike a sound is to itself a pitch period later, and how loud: float [B, 1, T] -> [B, PITCH_DIM,
    T / 960]."""

    def __init__(self) -> None:
        super().__init__()
        self.decimate = CausalConv1d(1, 1, _FILTER_TAPS, stride=DECIMATION, bias=False)
        self.decimate.requires_grad_(False)
        with torch.no_grad():
            self.decimate.conv.conv.weight.copy_(_low_pass()[None, None])  # type: ignore[union-attr,operator]

    def init_state(self, state: State) -> None:
        """Give the state what is remembered: of the sound, and of the decimated one."""
        self.decimate.init_state(state.child("decimate"))
        state.add("previous", (WINDOW_SAMPLES - HOP_SAMPLES,))

    def forward(self, pcm: Tensor, state: State | None = None) -> Tensor:
        low = self.decimate(pcm, state and state.child("decimate"))[:, 0]
        history = WINDOW_SAMPLES - HOP_SAMPLES
        before = low.new_zeros(len(low), history) if state is None else state["previous"].to(low.dtype)
        joined = torch.cat([before, low], dim=1)
        if state is not None:
            state.put("previous", joined[:, -history:])
        windows = joined.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)  # [B, N, 240]
        windows = windows - windows.mean(-1, keepdim=True)
        shifted = windows.unfold(2, _OVERLAP_SAMPLES, 1)  # [B, N, lags, 174]
        first, later = shifted[:, :, :1], shifted[:, :, LAGS[0] :]
        likeness = (first * later).sum(-1)
        power = (first.square().sum(-1) * later.square().sum(-1) + _QUIET).sqrt()
        loudness = (windows.square().mean(-1, keepdim=True) + _QUIET).log() * _LOUDNESS_SCALE
        found = torch.cat([likeness / power, loudness], dim=-1)
        return found.reshape(len(found), -1, PITCH_DIM).transpose(1, 2)


def _low_pass() -> Tensor:
    """A windowed sinc, gain 1: float [taps]."""
    at = torch.arange(_FILTER_TAPS) - (_FILTER_TAPS - 1) / 2
    taps = torch.sinc(2 * _PASS_HZ / SAMPLE_RATE_HZ * at) * torch.hann_window(_FILTER_TAPS, periodic=False)
    return taps / taps.sum()


class ProsodyListener(nn.Module):
    """Codes of how the caller speaks, 12.5 a second; 0: nobody speaks, or it cannot be told yet."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ProsodyConfig, feature_dim: int) -> None:
        """`feature_dim` is that of the codec's features at 25 Hz."""
        super().__init__()
        dim = config.dim
        self.dim = dim
        self.pitch = PitchFeatures()
        # Of what the network is given, so that it begins with numbers of one size; set before training.
        self.register_buffer("mean", torch.zeros(feature_dim + PITCH_DIM))
        self.register_buffer("scale", torch.ones(feature_dim + PITCH_DIM))
        self.enter = nn.Linear(feature_dim + PITCH_DIM, dim)
        self.halve = CausalConv1d(dim, dim, 6, stride=2)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.leave = nn.Linear(dim, config.codes)

    def init_state(self, state: State) -> None:
        """Give the state what is remembered."""
        self.pitch.init_state(state.child("pitch"))
        self.halve.init_state(state.child("halve"))
        state.add("hidden", (self.dim,))

    def forward(self, features: Tensor, pcm: Tensor, state: State | None = None) -> Tensor:
        """Logits float [B, codes, T / 1920] of the codec's local features [B, C, T / 960] and its input."""
        pitch = self.pitch(pcm, state and state.child("pitch"))
        return self.listen(torch.cat([features, pitch], dim=1), state)

    def listen(self, given: Tensor, state: State | None = None) -> Tensor:
        """Logits float [B, codes, T / 2] of features and pitch together, [B, C + PITCH_DIM, T]."""
        x = (given.transpose(1, 2) - self.mean) * self.scale
        x = F.gelu(self.enter(x)).transpose(1, 2)
        x = F.gelu(self.halve(x, state and state.child("halve"))).transpose(1, 2)
        hidden = self.gru(x)[0] if state is None else self._steps(x, state)
        out: Tensor = self.leave(hidden).transpose(1, 2)
        return out

    def _steps(self, x: Tensor, state: State) -> Tensor:
        """The recurrent layer frame by frame, from what the state remembers: float [B, T, dim]."""
        of_input, of_hidden, input_bias, hidden_bias = self.gru.parameters()
        hidden, out = state["hidden"].to(x.dtype), list[Tensor]()
        for frame in F.linear(x, of_input, input_bias).unbind(1):
            given = frame.chunk(3, dim=-1)
            kept = F.linear(hidden, of_hidden, hidden_bias).chunk(3, dim=-1)
            reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
            hidden = torch.lerp(torch.tanh(given[2] + reset * kept[2]), hidden, update)
            out.append(hidden)
        state.put("hidden", hidden)
        return torch.stack(out, dim=1)

    def codes(self, features: Tensor, pcm: Tensor, state: State | None = None) -> Tensor:
        """The likeliest code of each frame, int64 [B, 1, T / 1920]."""
        logits: Tensor = self(features, pcm, state)
        return logits.argmax(1, keepdim=True)
