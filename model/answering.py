"""What the transcript asks of the agent: an answer in time, in words that the caller used.

A small model that hears a stranger badly takes what it wrote down for talk that is not meant for it, and
waits; and it words an answer by the sound where it wrote the word down right. So the runtime holds it to its
transcript: after words that nothing followed, padding is barred until it begins to speak; and some words
("oat", "large") are barred until the caller has said them in this call. It is constrained decoding, like
`model.recital`: part of the step's program, tensors [B, ...] written in place, nothing asked of the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import LmConfig, SamplingConfig
from model.controls import FAR_BELOW
from model.errors import CheckpointError
from model.streaming import State
from model.tokenizer import EPAD, PAD, WORD_START, TextTokenizer

# Words that ask for an answer: fewer may be a hum over the agent's line, or a word that nobody said.
LEAST_WORDS = 2
HUMS = ("mhm", "uh", "huh", "um", "okay", "right", "yeah")  # such words do not count


class Answering:
    """What `batch` rows have heard and not answered, and which words they have heard at all."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        config: LmConfig,
        sampling: SamplingConfig,
        batch: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises CheckpointError if the alphabet spells one of the grounded words in more than one piece."""
        self._within_frames = sampling.answer_within_frames
        highest = max(config.text_card, config.extra_heads_dim)  # the initial token of a call's first column
        pieces = [tokenizer.piece(token) for token in range(highest + 1)]
        hums = {tokenizer.encode(word)[0] for word in HUMS}
        self._is_piece = torch.tensor([piece != "" for piece in pieces], device=device)
        counts = [piece.startswith(WORD_START) and token not in hums for token, piece in enumerate(pieces)]
        self._counts = torch.tensor(counts, device=device)
        self._grounded = torch.tensor(
            _single(tokenizer, sampling.grounded_words), dtype=torch.int64, device=device
        )
        self._padding = torch.tensor([EPAD, PAD], device=device)
        self.tree = State.root(batch, device)
        for name in ("num_words", "quiet"):
            self.tree.add(name, (), torch.int64)
        self.tree.add("is_opened", (), torch.bool)
        self.tree.add("is_heard", (len(sampling.grounded_words),), torch.bool)

    def shape(self, logits: Tensor, is_free: Tensor) -> None:
        """Bar what may not be said in this step, in place: logits float [B, text_card].

        Rows where bool [B] is false are told what to say by others.
        """
        tree = self.tree
        if self._within_frames:
            is_late = (tree["num_words"] >= LEAST_WORDS) & (tree["quiet"] >= self._within_frames)
            is_late = (is_late & is_free)[:, None]
            # A word is announced a frame ahead, once.
            barred = torch.cat([is_late & tree["is_opened"][:, None], is_late], dim=1)
            _bar(logits, self._padding, barred)
        if len(self._grounded):
            barred = is_free[:, None] & ~tree["is_heard"]
            _bar(logits, self._grounded, barred)

    def note(self, said: Tensor, heard: Tensor, active: Tensor) -> None:
        """The active rows (bool [B]) have taken these tokens of text and transcript, int64 [B]."""
        tree, said, heard = self.tree, said.clamp(min=0), heard.clamp(min=0)
        tree.set_exec_mask(active)
        is_said = self._is_piece[said]
        tree.put("num_words", torch.where(is_said, 0, tree["num_words"] + self._counts[heard]))
        tree.put("quiet", torch.where(is_said | self._is_piece[heard], 0, tree["quiet"] + 1))
        tree.put("is_opened", said == EPAD)
        tree.put("is_heard", tree["is_heard"] | (heard[:, None] == self._grounded))

    @torch.inference_mode()
    def relive(self, row: int, said: Sequence[int], heard: Sequence[int]) -> None:
        """Let a fresh row live through text and transcript tokens of its call's past, one of each a frame."""
        tree = self.tree.row(row)
        num_words = quiet = 0
        for text, word in zip(said, heard, strict=True):
            is_said, is_heard = (token >= 0 and bool(self._is_piece[token]) for token in (text, word))
            num_words = 0 if is_said else num_words + (is_heard and bool(self._counts[word]))
            quiet = 0 if is_said or is_heard else quiet + 1
        tree["num_words"].fill_(num_words)
        tree["quiet"].fill_(quiet)
        tree["is_opened"].fill_(bool(said) and said[-1] == EPAD)
        tree["is_heard"].copy_(torch.isin(self._grounded, torch.tensor(list(heard)))[None])


def _bar(logits: Tensor, tokens: Tensor, barred: Tensor) -> None:
    logits.index_copy_(1, tokens, logits[:, tokens].masked_fill(barred, FAR_BELOW))


def _single(tokenizer: TextTokenizer, words: Sequence[str]) -> list[int]:
    spelt = {word: tokenizer.encode(word) for word in words}
    for word, tokens in spelt.items():
        if len(tokens) != 1:
            raise CheckpointError(
                f"grounded_words: the alphabet spells {word!r} in {len(tokens)} pieces; it needs each as one "
                "piece. Leave the word out in config.json"
            )
    return [tokens[0] for tokens in spelt.values()]
