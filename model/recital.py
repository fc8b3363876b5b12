"""A pointer into the transcript: the model says when a digit is read back, what it wrote down says which.

A model small enough for a fraction of a core hears seven digits better than it copies them in their order. So
the copy is the runtime's: the transcript's digits are kept as a run, and where the model draws a digit as its
next word, the run's next one is said. Source: pointer networks (arXiv 1506.03134), as constrained decoding.

All of it is part of the step's program: tensors [B, ...], written in place, of which the host asks nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.config import MAX_RECITED, LmConfig
from model.controls import FAR_BELOW, NO_TOKEN
from model.errors import CheckpointError
from model.numbers import DIGIT_VALUES, DIGIT_WORDS, REPEATS, RESTARTS, SKIPPED, TIMES
from model.past import events
from model.streaming import State
from model.tokenizer import EPAD, PAD, WORD_START, TextTokenizer

# All in frames of 80 ms.
GAP_FRAMES = 31  # a caller's digit that comes later than this after another begins a new run
LATE_FRAMES = 12  # while the run is recited: what comes later is a new number, or the agent's echo
FRESH_FRAMES = 50  # a run is recited so long after its last digit, and repeated so long after being asked to
RHYTHM_FRAMES = 12  # in a recital the next word is a digit so long; who is interrupted for longer is free
LAPSE_FRAMES = 50  # after such a pause a recital is over
TAIL_FRAMES = 20  # after a number's last digit: "is that right" has none
# In a shorter run a digit is a word like another: "one latte", "oh hi", "for two".
FIRM_DIGITS = 3
MAX_WORDS_AFTER = 3  # "that's it thanks"; who goes on talking has asked for something else
MAX_WORDS_SINCE = 3  # "is that right": what is asked to be said again is what was said last


class Offer(NamedTuple):
    """What a row's recital has for this step."""

    is_ours: Tensor  # bool [B]: which digit is said is not the model's choice
    due: Tensor  # int64 [B]: the text token of the next digit; NO_TOKEN if none may be said now
    is_bound: Tensor  # bool [B]: no other word may come before it
    begins: Tensor  # bool [B]: it would be a new run's first
    place: Tensor  # int64 [B]: its place in the run


class _Heard(NamedTuple):
    """What a transcript's token means, [B] each."""

    value: Tensor  # int64: of a digit, else -1
    times: Tensor  # int64: 2 for "double", 0 for other words
    is_other: Tensor  # bool: a piece of a word that has nothing to do with digits
    opens: Tensor  # bool: opens a word
    opens_other: Tensor  # bool: opens one that is no digit, as far as is known
    goes_on: Tensor  # bool: makes the word before longer
    restarts: Tensor  # bool
    asks: Tensor  # bool: for something to be said again


class Recital:
    """Runs of digits that `batch` rows heard, and how far they have read them back."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        config: LmConfig,
        from_digits: int,
        batch: int,
        device: torch.device | str = "cpu",
        *,
        once_frames: int = 0,
    ) -> None:
        """Runs of at least `from_digits` are recited, with at least `once_frames` frames between two digits.

        Raises CheckpointError if the alphabet spells a digit in more than one piece.
        """
        self._from_digits, self._once_frames = from_digits, once_frames
        self._read_alphabet(tokenizer, config, device)
        self._spell(tokenizer, device)
        self._places = torch.arange(MAX_RECITED, device=device)
        self._padding = torch.tensor([EPAD, PAD], device=device)
        self.tree = State.root(batch, device)
        num_pieces = self._spellings.shape[1]
        self._piece_places = torch.arange(num_pieces, device=device)
        shapes: dict[str, tuple[int, ...]] = {
            "word": (num_pieces,), "heard": (MAX_RECITED,), "run": (MAX_RECITED,)
        }  # fmt: skip
        for name in ("num_pieces", "num_heard", "counted", "times", "quiet", "words_after", "asked",
                     "num_run", "place", "paused", "words_since"):  # fmt: skip
            shapes[name] = ()
        for name, shape in shapes.items():
            self.tree.add(name, shape, torch.int64)
        for name in ("is_broken", "is_taken", "is_reciting"):
            self.tree.add(name, (), torch.bool)

    def _read_alphabet(self, tokenizer: TextTokenizer, config: LmConfig, device: torch.device | str) -> None:
        highest = max(config.text_card, config.extra_heads_dim)  # the initial token of a call's first column
        pieces = [tokenizer.piece(token) for token in range(highest + 1)]
        self._is_piece = torch.tensor([piece != "" for piece in pieces], device=device)
        self._opens = torch.tensor([piece.startswith(WORD_START) for piece in pieces], device=device)
        spelt = [tokenizer.encode(word) for word in DIGIT_WORDS]
        for word, tokens in zip(DIGIT_WORDS, spelt, strict=True):
            if len(tokens) != 1:
                raise CheckpointError(
                    f"recite_from_digits {self._from_digits}: the alphabet spells {word!r} in {len(tokens)} "
                    "pieces; it needs each digit as one piece. Set it to 0 in config.json"
                )
        self._digit_tokens = torch.tensor([tokens[0] for tokens in spelt], device=device)

    def _spell(self, tokenizer: TextTokenizer, device: torch.device | str) -> None:
        """Every word with a meaning, a row each: its pieces, 0 behind them, and what it means."""
        words = sorted({*DIGIT_VALUES, *TIMES, *SKIPPED, *RESTARTS, *REPEATS})
        spelt = [tokenizer.encode(word) for word in words]
        longest = max(len(tokens) for tokens in spelt)
        rows = [tokens + [0] * (longest - len(tokens)) for tokens in spelt]
        self._spellings = torch.tensor(rows, device=device)
        self._lengths = torch.tensor([len(tokens) for tokens in spelt], device=device)

        def column(values: list[int]) -> Tensor:
            return torch.tensor(values, device=device)

        # One more than the value: a row of no digit adds nothing.
        self._values = column([DIGIT_VALUES.get(word, -1) + 1 for word in words])
        self._times = column([TIMES.get(word, 0) for word in words])
        self._is_skipped = column([word in SKIPPED for word in words])
        self._is_restart = column([word in RESTARTS for word in words])
        self._is_repeat = column([word in REPEATS for word in words])

    # ---- inside the step's program ----

    def offer(self, is_free: Tensor) -> Offer:
        """What may be said in this step, [B]. Rows where bool [B] is false are told what to say by others."""
        tree = self.tree
        is_speaking = tree["is_reciting"] & (tree["paused"] <= RHYTHM_FRAMES)
        is_new = ~tree["is_taken"] & (tree["num_heard"] >= self._from_digits)
        is_fresh = (tree["quiet"] <= FRESH_FRAMES) & (tree["words_after"] <= MAX_WORDS_AFTER)
        begins = is_new & is_fresh & ~is_speaking
        goes_on = tree["is_reciting"] & ~begins
        is_asked = (tree["asked"] > 0) & (tree["words_since"] <= MAX_WORDS_SINCE) & (tree["num_run"] > 0)
        repeats = is_asked & ~tree["is_reciting"] & ~begins
        is_done = (tree["num_run"] > 0) & (tree["place"] >= tree["num_run"])
        ends = is_done & (tree["paused"] < TAIL_FRAMES) & ~begins & ~repeats & ~goes_on
        place = torch.where(goes_on, tree["place"], 0)
        is_barred = ends | goes_on & (is_done | (tree["paused"] < self._once_frames))
        run = torch.where(begins[:, None], tree["heard"], tree["run"])
        value = run.gather(1, place.clamp(max=MAX_RECITED - 1)[:, None])[:, 0]
        is_ours = is_free & (begins | goes_on | repeats | ends)
        due = torch.where(is_ours & ~is_barred, self._digit_tokens[value], NO_TOKEN)
        is_bound = is_ours & goes_on & is_speaking & ~is_done
        return Offer(is_ours, due, is_bound, begins & is_ours, place)

    def shape(self, logits: Tensor, offer: Offer) -> None:
        """Make the due digit as likely as any digit is, as any word where it is bound to come; in place.

        `logits` float [B, text_card]. Rows that have nothing to recite keep them bit for bit; a digit that is
        banned stays so, and nothing is said in its place.
        """
        digits = logits[:, self._digit_tokens]
        padding = logits[:, self._padding]
        silent = torch.full_like(logits, FAR_BELOW).index_copy(1, self._padding, padding)
        words = logits.index_fill(1, self._padding, -torch.inf)
        bound = offer.is_bound[:, None]
        others = torch.where(bound, silent, logits.index_fill(1, self._digit_tokens, FAR_BELOW))
        likely = torch.where(offer.is_bound, words.logsumexp(1), digits.logsumexp(1))
        where = offer.due.clamp(min=0)[:, None]
        has_due = (offer.due >= 0)[:, None] & (logits.gather(1, where) > FAR_BELOW / 2)
        chosen = torch.where(has_due, others.scatter(1, where, likely[:, None]), others)
        logits.copy_(torch.where(offer.is_ours[:, None], chosen, logits))

    def note(self, offer: Offer, said: Tensor, heard: Tensor, active: Tensor) -> None:
        """The active rows (bool [B]) have taken these tokens of text and transcript, int64 [B]."""
        self.tree.set_exec_mask(active)
        self._note_said(offer, said.clamp(min=0))
        self._note_heard(self._meaning(heard.clamp(min=0)))

    def _note_said(self, offer: Offer, said: Tensor) -> None:
        tree = self.tree
        is_next = said == offer.due
        is_first = is_next & offer.begins
        is_other = self._is_piece[said] & ~is_next
        tree.put("run", torch.where(is_first[:, None], tree["heard"], tree["run"]))
        tree.put("num_run", torch.where(is_first, tree["num_heard"], tree["num_run"]))
        tree.put("is_taken", tree["is_taken"] | is_first)
        tree.put("place", torch.where(is_next, offer.place + 1, tree["place"]))
        paused = torch.where(is_next, 0, tree["paused"] + 1)
        tree.put("paused", paused)
        tree.put("is_reciting", is_next | tree["is_reciting"] & ~is_other & (paused <= LAPSE_FRAMES))
        words = tree["words_since"] + (is_other & self._opens[said])
        tree.put("words_since", torch.where(is_next, 0, words))

    def _meaning(self, heard: Tensor) -> _Heard:
        """File a piece under the word that it belongs to, and look that up."""
        tree, is_piece = self.tree, self._is_piece[heard]
        opens, goes_on = is_piece & self._opens[heard], is_piece & ~self._opens[heard]
        num_pieces = torch.where(opens, 1, tree["num_pieces"] + goes_on)
        is_here = is_piece[:, None] & (self._piece_places == num_pieces[:, None] - 1)
        before = torch.where(opens[:, None], 0, tree["word"])
        tree.put("word", torch.where(is_here, heard[:, None], before))
        tree.put("num_pieces", num_pieces)
        is_known = is_piece & (num_pieces <= self._spellings.shape[1])
        means = is_known[:, None] & (tree["word"][:, None] == self._spellings).all(2)  # [B, words]
        value = (means * self._values).sum(1) - 1
        times = (means * self._times).sum(1)
        is_plain = is_piece & (value < 0) & (times == 0) & ~(means & self._is_skipped).any(1)
        is_other = is_plain & ~self._begins_a_word(num_pieces)
        restarts, asks = (means & self._is_restart).any(1), (means & self._is_repeat).any(1)
        return _Heard(value, times, is_other, opens, opens & is_plain, goes_on, restarts, asks)

    def _begins_a_word(self, num_pieces: Tensor) -> Tensor:
        """Whether what is there of a word may still become one with a meaning, bool [B]."""
        is_open = self._piece_places >= num_pieces[:, None]
        is_same = (self.tree["word"][:, None] == self._spellings) | is_open[:, None]
        return (is_same.all(2) & (self._lengths > num_pieces[:, None])).any(1)

    def _note_heard(self, word: _Heard) -> None:
        tree = self.tree
        is_digit = word.value >= 0
        is_late = tree["quiet"] > torch.where(tree["is_taken"], LATE_FRAMES, GAP_FRAMES)
        anew = is_digit & (tree["is_broken"] | is_late)
        # "Four" was no digit if it goes on as "fourteen".
        before = tree["num_heard"] - torch.where(word.goes_on, tree["counted"], 0)
        is_dropped = anew | word.is_other & (before < FIRM_DIGITS)
        before = torch.where(is_dropped, 0, before)
        count = torch.where(is_digit, tree["times"].clamp(min=1), 0)
        after = (before + count).clamp(max=MAX_RECITED)
        is_new = (self._places >= before[:, None]) & (self._places < after[:, None])
        tree.put("heard", torch.where(is_new, word.value[:, None], tree["heard"]))
        tree.put("num_heard", after)
        tree.put("counted", torch.where(word.opens | word.goes_on, after - before, tree["counted"]))
        times = torch.where(word.times > 0, word.times, tree["times"])
        tree.put("times", torch.where(is_digit | word.is_other, 0, times))
        tree.put("quiet", torch.where(is_digit, 0, tree["quiet"] + 1))
        words = tree["words_after"] + word.opens_other
        tree.put("words_after", torch.where(is_digit, 0, words))
        tree.put("is_broken", word.restarts | tree["is_broken"] & ~is_digit)
        tree.put("asked", torch.where(word.asks, FRESH_FRAMES, (tree["asked"] - 1).clamp(min=0)))
        self._follow(anew, word.restarts)

    def _follow(self, anew: Tensor, restarts: Tensor) -> None:
        """A digit that was written down late belongs to the recital that has begun; "no" ends it."""
        tree = self.tree
        taken = tree["is_taken"] & ~anew
        tree.put("is_taken", taken)
        tree.put("run", torch.where(taken[:, None], tree["heard"], tree["run"]))
        tree.put("num_run", torch.where(taken, tree["num_heard"], tree["num_run"]))
        tree.put("is_reciting", tree["is_reciting"] & ~restarts)

    # ---- between steps ----

    @torch.inference_mode()
    def relive(self, row: int, said: Sequence[int], heard: Sequence[int]) -> None:
        """Let a fresh row live through text and transcript tokens of its call's past, one of each a frame."""
        one = copy.copy(self)
        one.tree = self.tree.row(row)
        yes = torch.ones_like(one.tree.exec_mask)
        for quiet_frames, pair in events(said, heard, (EPAD, PAD)):
            one._wait(quiet_frames)
            if pair is not None:
                text, word = (torch.full_like(one.tree["place"], token) for token in pair)
                one.note(one.offer(yes), text, word, yes)

    def _wait(self, frames: int) -> None:
        """What `note` does in so many frames without a word."""
        tree = self.tree
        for name in ("quiet", "paused"):
            tree.put(name, tree[name] + frames)
        tree.put("asked", (tree["asked"] - frames).clamp(min=0))
        tree.put("is_reciting", tree["is_reciting"] & (tree["paused"] <= LAPSE_FRAMES))
