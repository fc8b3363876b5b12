"""What each row is told: its sampling, its seed, what to say, when to be silent. Tensors [B, ...].

They are read by the step's program and written between steps, always in place. A row's sentence is worked off
inside the program, because when a word is due depends on what the model draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import LmConfig, SamplingConfig
from model.control import CallProfile
from model.errors import PromptError
from model.sampling import MAX_TOP_K
from model.streaming import State
from model.tokenizer import EPAD, PAD

NO_TOKEN = -1
FAR_BELOW = -1e9  # a logit that is never drawn
MAX_SENTENCE_TOKENS = 2048
# A model that does not come to the next word is made to: a second before a sentence, half of it inside one.
PATIENCE_STEPS, PATIENCE_INSIDE_STEPS = 12, 6


class RowControls:
    """Controls of `batch` rows over one model."""

    def __init__(self, config: LmConfig, sampling: SamplingConfig, word_starts: Tensor, batch: int) -> None:
        """`word_starts` bool [text_card] tells which text tokens open a word."""
        device = word_starts.device
        self._config, self._sampling, self._word_starts = config, sampling, word_starts
        self._is_padding = torch.zeros(config.text_card, dtype=torch.bool, device=device)
        self._is_padding[[EPAD, PAD]] = True
        self._tensors = tensors = State.root(batch, device)
        integers: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("seed", ()),
            ("text_top_k", ()),
            ("audio_top_k", ()),
            ("forced_text", ()),
            ("sentence", (MAX_SENTENCE_TOKENS,)),
            ("sentence_length", ()),
            ("sentence_at", ()),
            ("waited", ()),
            ("silent_steps", ()),
            ("hears_from", ()),
        )
        for name, shape in integers:
            tensors.add(name, shape, torch.int64)
        tensors.add("text_temperature", ())
        tensors.add("audio_temperature", ())
        tensors.add("text_bias", (config.text_card,))
        tensors.add("was_silent", (config.max_delay + 1,), torch.bool)  # newest first
        for row in range(batch):
            self.reset(row, seed=0)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    @property
    def tree(self) -> State:
        """Every tensor there is."""
        return self._tensors

    def reset(self, row: int, *, seed: int, profile: CallProfile | None = None) -> None:
        """Set a row up for a new call. Raises PromptError for a profile that this model cannot follow."""
        profile = profile or CallProfile()
        bias = self._bias_of(profile)
        own = self._sampling
        values: dict[str, float] = {
            "seed": _signed(seed),
            "text_temperature": _chosen(profile.text_temperature, own.text_temperature, "text_temperature"),
            "audio_temperature": _chosen(
                profile.audio_temperature, own.audio_temperature, "audio_temperature"
            ),
            "text_top_k": _top_k(profile.text_top_k, own.text_top_k, self._config.text_card),
            "audio_top_k": _top_k(profile.audio_top_k, own.audio_top_k, self._config.card),
            "forced_text": NO_TOKEN,
            "sentence_length": 0,
            "sentence_at": 0,
            "waited": 0,
            "silent_steps": 0,
            "hears_from": 0,
        }
        for name, value in values.items():
            self._tensors[name][row] = value
        self._tensors["text_bias"][row] = bias
        self._tensors["was_silent"][row] = False

    def _bias_of(self, profile: CallProfile) -> Tensor:
        bias = torch.zeros(self._config.text_card)
        for token, amount in profile.text_bias:
            bias[self._check(token)] += amount
        if not torch.isfinite(bias).all():
            raise PromptError("a bias of a text token is not finite; give numbers like -2.5")
        for token in profile.banned:
            bias[self._check(token)] = FAR_BELOW
        return bias

    def _check(self, token: int) -> int:
        if not 0 <= token < self._config.text_card:
            raise PromptError(f"text token {token} is outside 0..{self._config.text_card - 1}")
        return token

    def force_text(self, row: int, token: int) -> None:
        """The row's next step takes this text token. Raises PromptError if the model has no such token."""
        self._tensors["forced_text"][row] = self._check(token)

    def say(self, row: int, tokens: list[int]) -> None:
        """Replace the row's sentence; an empty one stops it.

        Raises PromptError for a token that the model does not have, or too many.
        """
        if len(tokens) > MAX_SENTENCE_TOKENS:
            raise PromptError(
                f"a sentence of {len(tokens)} tokens is too long; {MAX_SENTENCE_TOKENS} fit: say it in parts"
            )
        checked = torch.tensor([self._check(token) for token in tokens], dtype=torch.int64)
        self._tensors["sentence"][row, : len(tokens)] = checked.to(self._word_starts.device)
        self._tensors["sentence_length"][row] = len(tokens)
        self._tensors["sentence_at"][row] = 0
        self._tensors["waited"][row] = 0

    def silence(self, row: int, steps: int) -> None:
        """Keep the row's agent silent for so many steps; 0 ends its silence."""
        if steps < 0:
            raise PromptError(f"a silence of {steps} steps is none; give 0 or more")
        self._tensors["silent_steps"][row] = steps

    # ---- inside the step's program ----

    def hush(self, rows: Tensor) -> None:
        """Keep the rows where bool [B] is true silent for this step at least."""
        silent = self["silent_steps"]
        silent.copy_(torch.where(rows, silent.clamp(min=1), silent))

    @property
    def is_saying(self) -> Tensor:
        """Which rows have words of a sentence left to say, bool [B]."""
        return self["sentence_at"] < self["sentence_length"]

    def shape_text(self, logits: Tensor, unshaped: Tensor) -> Tensor:
        """Let rows with a sentence draw only padding or its next word: float [B, text_card] twice.

        That word is as likely as the model finds it to say any word now: when is the model's choice, what is
        not. `unshaped` are the logits without bias and bans: they do not concern a sentence that was ordered.
        """
        due, is_saying = self._due()
        any_word = unshaped.masked_fill(self._is_padding, -torch.inf).logsumexp(1)
        only = torch.where(self._is_padding, unshaped, FAR_BELOW).scatter(1, due[:, None], any_word[:, None])
        return torch.where(is_saying[:, None], only, logits)

    def force(self, drawn: Tensor) -> Tensor:
        """The text of this step: what was drawn, int64 [B], unless the row is told otherwise."""
        due, is_saying = self._due()
        has_begun = self["sentence_at"] > 0
        patience = torch.where(has_begun, PATIENCE_INSIDE_STEPS, PATIENCE_STEPS)
        is_due = (has_begun & ~self._word_starts[due]) | (self["waited"] >= patience)
        text = torch.where(is_saying & is_due, due, drawn)
        text = torch.where(self["silent_steps"] > 0, PAD, text)
        return torch.where(self["forced_text"] >= 0, self["forced_text"], text)

    def is_told(self, text: Tensor) -> Tensor:
        """Where this step's text int64 [B] is the next of a row's sentence, or forced: bool [B]."""
        due, is_saying = self._due()
        return is_saying & (text == due) | (self["forced_text"] >= 0)

    def _due(self) -> tuple[Tensor, Tensor]:
        """The sentence's next token int64 [B], and whether there is one, bool [B]."""
        at = self["sentence_at"]
        due = self["sentence"].gather(1, at.clamp(max=MAX_SENTENCE_TOKENS - 1)[:, None])[:, 0]
        return due, self.is_saying

    def forced_codes(self, silence: Tensor, delays: Tensor) -> Tensor:
        """Agent codes of this step that are not drawn, int64 [B, agent_q]; NO_TOKEN where they are.

        `silence` int64 [agent_q] codes a silent frame, `delays` int64 [agent_q]: a codebook that is late by d
        steps is silent d steps later, so that the last audible frame is not cut.
        """
        now = (self["silent_steps"] > 0)[:, None]
        history = torch.cat([now, self["was_silent"][:, :-1]], dim=1)
        return torch.where(history[:, delays], silence, NO_TOKEN)

    def advance(self, text: Tensor, active: Tensor) -> None:
        """Count what the active rows have done in this step; `text` int64 [B] is what they took."""
        due, is_saying = self._due()
        is_silent = self["silent_steps"] > 0
        has_said = is_saying & (text == due)
        tensors = self._tensors
        tensors.set_exec_mask(active)
        tensors.put("sentence_at", self["sentence_at"] + has_said)
        tensors.put("waited", torch.where(has_said | is_silent, 0, self["waited"] + 1))
        history = torch.cat([is_silent[:, None], self["was_silent"][:, :-1]], dim=1)
        tensors.put("was_silent", history)
        tensors.put("silent_steps", (self["silent_steps"] - 1).clamp(min=0))
        tensors.put("forced_text", torch.full_like(text, NO_TOKEN))


def _signed(seed: int) -> int:
    """The 64 bits of a seed as torch holds them."""
    return (seed & (2**64 - 1)) - 2**64 if seed & 2**63 else seed & (2**64 - 1)


def _chosen(asked: float | None, own: float, name: str) -> float:
    if asked is None:
        return own
    if not 0 <= asked <= 5:
        raise PromptError(f"{name} is {asked}; it is 0 (always the likeliest) to 5")
    return asked


def _top_k(asked: int | None, own: int, card: int) -> int:
    value = own if asked is None else asked
    if value >= card:
        return 0
    if not 0 <= value <= MAX_TOP_K:
        raise PromptError(f"a top-k of {value} is asked for; it is 1 to {MAX_TOP_K}, or 0 for all")
    return value
