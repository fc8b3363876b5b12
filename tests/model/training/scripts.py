"""A small order line in tokens: a library for a pool of two orders, and a caller who says a few things."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from model.phrasings import Tone
from model.requests import Request
from model.training.bank import draw_requests
from model.training.pool import Pool, draw_pool
from model.training.tokens_stage import LibraryLine, TokenStem, TokenTurn

NUM_CODEBOOKS = 8
WORD_FRAMES = 4
POOL: Pool = draw_pool(num_orders=2, num_numbers=2)


def line(text: str, number: int, *, is_soft: bool = False) -> LibraryLine:
    """Every word lasts four frames; all codes are the line's number."""
    words = [(word.strip(".,?").lower(), WORD_FRAMES * place) for place, word in enumerate(text.split())]
    codes = np.full((NUM_CODEBOOKS, WORD_FRAMES * len(words) + 2), number, np.int16)
    return LibraryLine(text, codes, words, is_soft)


def library() -> list[LibraryLine]:
    """Silence is code 0."""
    silence = LibraryLine("", np.zeros((NUM_CODEBOOKS, 1), np.int16), [])
    lines = [line(one.text, 1 + n % 30, is_soft=one.is_soft) for n, one in enumerate(POOL.lines())]
    return [silence, *lines]


def stem(seed: int = 0, tones: Sequence[Tone] = (Tone.CALM,)) -> TokenStem:
    """A caller with a balanced mix of requests in each tone; codes are 1 in speech, 2 on the idle line."""
    rng = random.Random(seed)
    requests: list[Request] = [one for tone in tones for one in draw_requests(rng, POOL, tone)]
    turns: list[TokenTurn] = []
    at = 14
    for request in requests:
        words = [(word, at + 3 * place + 2) for place, word in enumerate(request.text.split())]
        turns.append(TokenTurn(request, at, words[-1][1], words))
        at = words[-1][1] + 13
    codes = np.full((NUM_CODEBOOKS, at + 10), 2, np.int16)
    for turn in turns:
        codes[:, turn.first : turn.last + 1] = 1
    return TokenStem(codes, turns, np.arange(2, 12))
