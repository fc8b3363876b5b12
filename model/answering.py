"""What the transcript asks of the agent: to stop for words, to answer them in time, in words that were heard.

A small model that hears a stranger badly takes what it wrote down for talk that is not meant for it: it goes
on speaking, and waits when the caller has ended; and it words an answer by the sound where it wrote the word
down right. So the runtime holds it to its transcript. Words over its line silence it (hums, coughs and most
side talk are written down as none), and there it listens for them harder; after words that nothing followed,
padding is barred until it begins to speak, sooner if the last of them may end a sentence; and some words
("almond", "large") are barred until they were heard in the call. It is constrained decoding, like
`model.recital`: part of the step's program, tensors [B, ...] written in place, nothing asked of the host.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.config import LmConfig, SamplingConfig
from model.controls import FAR_BELOW
from model.errors import CheckpointError
from model.past import events
from model.streaming import State
from model.tokenizer import EPAD, PAD, WORD_START, TextTokenizer

# Words that ask for an answer: fewer may be a hum over the agent's line, or a word that nobody said.
LEAST_WORDS = 2
# Words that ask for none, if they are one or two pieces of the alphabet.
HUMS = ("mhm", "mm", "hm", "uh", "huh", "um", "okay", "right", "yeah", "thank", "thanks", "you")
AGENT_HUMS = ("mm", "hm")  # of its own: they leave what it was asked open
NEVER = -1  # a token that is none
# All in frames of 80 ms.
PAUSE_FRAMES = 10  # without a piece of text: the line is over; a word is not as long
LATE_FRAMES = 8  # of a line, in which words of the turn that it answers are still being written down
HUSHED_FRAMES = 5  # of silence for words over a line: enough for the model to notice that it has stopped


# Of the line that is being said; what a moved call's agent was saying is over.
_OF_LINE = ("line_age", "pause", "words_over", "hushed")


class Agent(NamedTuple):
    """What the agent does in a step, bool [B] each."""

    is_muted: Tensor  # it may not speak: what is said to it meanwhile stays unanswered
    is_hushed: Tensor  # what `Answering.hush` gave


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
        """Raises CheckpointError if the alphabet spells a word of the lists in more than one piece."""
        self._within_frames, self._yield_to_words = sampling.answer_within_frames, sampling.yield_to_words
        self._heard_bias, self._over_line_bias = sampling.heard_bias, sampling.heard_over_line_bias
        self._ended_within_frames = sampling.answer_ended_within_frames or self._within_frames
        highest = max(config.text_card, config.extra_heads_dim)  # the initial token of a call's first column
        pieces = [tokenizer.piece(token) for token in range(highest + 1)]
        spelt = [tokenizer.encode(word) for word in HUMS]
        whole = {tokens[0] for tokens in spelt if len(tokens) == 1}
        pairs = [tokens for tokens in spelt if len(tokens) == 2] or [[NEVER, NEVER]]
        own = whole | {tokenizer.encode(word)[0] for word in (*HUMS, *AGENT_HUMS)}

        def opening(but: set[int]) -> Tensor:
            opens = [piece.startswith(WORD_START) and token not in but for token, piece in enumerate(pieces)]
            return torch.tensor(opens, device=device)

        self._is_piece = torch.tensor([piece != "" for piece in pieces], device=device)
        self._opens = opening(whole | {tokens[0] for tokens in pairs})
        self._answers = opening(own)
        self._hums = torch.tensor(pairs, device=device)
        self._passes_on = torch.tensor([tokenizer.delegate, tokenizer.transfer], device=device)
        self._is_open = torch.zeros(len(pieces), dtype=torch.bool, device=device)
        self._is_open[_single(tokenizer, "open_words", sampling.open_words)] = True
        grounded = _single(tokenizer, "grounded_words", sampling.grounded_words)
        self._grounded = torch.tensor(grounded, dtype=torch.int64, device=device)
        self._is_silent = ~self._is_piece[: config.text_card]
        self._is_epad = torch.arange(config.text_card, device=device) == EPAD
        self.tree = State.root(batch, device)
        for name in ("num_words", "quiet", "last_heard", *_OF_LINE):
            self.tree.add(name, (), torch.int64)
        for name in ("is_opened", "is_waiting"):
            self.tree.add(name, (), torch.bool)
        self.tree.add("is_heard", (len(grounded),), torch.bool)

    # ---- inside the step's program ----

    def shape(self, logits: Tensor, is_free: Tensor) -> None:
        """Bar what may not be said in this step, in place: logits float [B, text_card].

        Rows where bool [B] is false are told what to say by others.
        """
        tree = self.tree
        if self._within_frames:
            is_open = self._is_open[tree["last_heard"]]
            within = torch.where(is_open, self._within_frames, self._ended_within_frames)
            is_late = (tree["num_words"] >= LEAST_WORDS) & (tree["quiet"] >= within)
            is_late = (is_late & is_free)[:, None]
            # Controls say nothing either; but a word is announced a frame ahead, once.
            may_not = is_late & self._is_silent & ~(self._is_epad & ~tree["is_opened"][:, None])
            logits.masked_fill_(may_not, FAR_BELOW)
        if len(self._grounded):
            _bar(logits, self._grounded, is_free[:, None] & ~tree["is_heard"])

    def shape_heads(self, heads: Tensor, is_free: Tensor) -> None:
        """Listen harder, in place: logits float [B, heads, extra_heads_dim].

        Of the sounds in training many do not concern the model; so it waits until it is surer than need be
        that it is spoken to: at the beginning of a turn, and most of all over its line. Rows where bool [B]
        is false speak for others, who are not interrupted.
        """
        if self._heard_bias or self._over_line_bias:
            is_over = self.tree["line_age"] > LATE_FRAMES
            bias = torch.where(self.tree["num_words"] == 0, self._heard_bias, 0.0)
            bias = torch.where(is_over, self._over_line_bias, bias)
            heads[:, 0, PAD] -= torch.where(is_free, bias, 0.0).to(heads.dtype)

    def hush(self, is_free: Tensor) -> Tensor:
        """In which rows the agent is to be silent in this step for what is said over its line, bool [B].

        Rows where bool [B] is false speak for others, who are not interrupted.
        """
        tree = self.tree
        is_due = (tree["words_over"] >= self._yield_to_words) & (self._yield_to_words > 0) & is_free
        return is_due | (tree["hushed"] > 0)

    def note(self, said: Tensor, heard: Tensor, active: Tensor, agent: Agent) -> None:
        """The active rows (bool [B]) have taken these tokens of text and transcript, int64 [B]."""
        tree, said, heard = self.tree, said.clamp(min=0), heard.clamp(min=0)
        tree.set_exec_mask(active)
        is_answer = self._answers[said]
        passes_on = (said[:, None] == self._passes_on).any(1)
        waits = passes_on | tree["is_waiting"] & ~is_answer  # for the runtime's word
        # What may become a hum is a word once another piece shows that it is none.
        began = tree["last_heard"][:, None] == self._hums[:, 0]
        is_hum = (began & (heard[:, None] == self._hums[:, 1])).any(1)
        is_word = self._is_piece[heard] & began.any(1) & ~is_hum
        more_words = self._opens[heard].long() + is_word.long()
        num_words = tree["num_words"] + more_words
        num_words = torch.where(agent.is_hushed, num_words.maximum(tree["words_over"]), num_words)
        is_done = is_answer | waits | agent.is_muted
        tree.put("num_words", torch.where(is_done, 0, num_words))
        is_quiet = ~self._is_piece[said] & ~self._is_piece[heard]
        tree.put("quiet", torch.where(is_quiet, tree["quiet"] + 1, 0))
        self._note_line(self._is_piece[said], more_words, agent)
        tree.put("last_heard", torch.where(self._is_piece[heard], heard, tree["last_heard"]))
        tree.put("is_opened", said == EPAD)
        tree.put("is_waiting", waits)
        of_either = (heard[:, None] == self._grounded) | (said[:, None] == self._grounded)
        tree.put("is_heard", tree["is_heard"] | of_either)

    def _note_line(self, is_said: Tensor, more_words: Tensor, agent: Agent) -> None:
        """How old the line is that is being said, and how many words were heard over it; none once hushed."""
        tree = self.tree
        pause = torch.where(is_said, 0, tree["pause"] + 1)
        age = tree["line_age"]
        goes_on = (age > 0) & (tree["pause"] < PAUSE_FRAMES)
        age = torch.where(goes_on, age + 1, is_said.long())
        age = torch.where(agent.is_hushed, 0, age)
        over = tree["words_over"] + more_words
        tree.put("words_over", torch.where(age > LATE_FRAMES, over, 0))
        tree.put("line_age", age)
        tree.put("pause", pause)
        left = torch.where(tree["hushed"] > 0, tree["hushed"], HUSHED_FRAMES) - 1
        tree.put("hushed", torch.where(agent.is_hushed, left, 0))

    # ---- between steps ----

    @torch.inference_mode()
    def relive(self, row: int, said: Sequence[int], heard: Sequence[int]) -> None:
        """Let a fresh row live through text and transcript tokens of its call's past, one of each a frame."""
        one = copy.copy(self)
        one.tree = self.tree.row(row)
        yes = torch.ones_like(one.tree.exec_mask)
        for quiet_frames, pair in events(said, heard, (PAD,)):
            one._wait(quiet_frames)
            if pair is not None:
                text, word = (torch.full_like(one.tree["quiet"], token) for token in pair)
                one.note(text, word, yes, Agent(~yes, ~yes))
        for name in _OF_LINE:
            one.tree[name].zero_()

    def _wait(self, frames: int) -> None:
        """What `note` does in so many frames of padding."""
        if frames:
            self.tree.put("quiet", self.tree["quiet"] + frames)
            self.tree.put("is_opened", torch.zeros_like(self.tree["is_opened"]))


def _bar(logits: Tensor, tokens: Tensor, barred: Tensor) -> None:
    logits.index_copy_(1, tokens, logits[:, tokens].masked_fill(barred, FAR_BELOW))


def _single(tokenizer: TextTokenizer, what: str, words: Sequence[str]) -> list[int]:
    spelt = {word: tokenizer.encode(word) for word in words}
    for word, tokens in spelt.items():
        if len(tokens) != 1:
            raise CheckpointError(
                f"{what}: the alphabet spells {word!r} in {len(tokens)} pieces; it needs each as one "
                "piece. Leave the word out in config.json"
            )
    return [tokens[0] for tokens in spelt.values()]
