"""A caller and an agent's library whose tokens name themselves, so that a call can be read back from them."""

import numpy as np

from model.order_line import AGENT_LINES, Intent, Order, Request, every_order, readback
from model.training.tokens_stage import LibraryLine, TokenStem, TokenTurn

NUM_CODEBOOKS = 2
LINE_WORD_FRAMES = 4  # a word of the agent's lasts so long
LAST_COLD_FRAME = 7  # of the caller's line, which every call begins with
REQUESTS = (
    Request(Intent.ORDER, "a large latte", Order("latte", "large")),
    Request(Intent.ORDER, "just coffee with cream", Order("coffee", None, "cream")),
    Request(Intent.YES, "yes please"),
    Request(Intent.NO, "no"),
    Request(Intent.HOURS, "when do you open"),
    Request(Intent.WHERE, "where are you"),
    Request(Intent.PERSON, "can I talk to a person"),
    Request(Intent.REPEAT, "pardon"),
    Request(Intent.GOODBYE, "goodbye"),
    Request(Intent.OTHER, "my phone is broken"),
)


def stem(requests: tuple[Request, ...] = REQUESTS) -> TokenStem:
    """A caller who says each request once; code 0 is the frame's number in the stem, code 1 is 1."""
    turns: list[TokenTurn] = []
    idle = list(range(LAST_COLD_FRAME + 1, 12))
    at = 14
    for request in requests:
        words = [(word, at + 4 + 5 * place) for place, word in enumerate(request.text.split())]
        turns.append(TokenTurn(request, at, words[-1][1], words))
        idle += range(words[-1][1] + 4, words[-1][1] + 11)
        at = words[-1][1] + 13
    codes = np.stack([np.arange(at), np.ones(at)]).astype(np.int16)
    return TokenStem(codes, turns, np.array(idle))


def agent_library() -> list[LibraryLine]:
    """Silence (zeros) and every line; code 0 is the line's number, code 1 the frame in it, both from 1 on."""
    texts = [line.text for line in AGENT_LINES] + [readback(order).text for order in every_order()]
    lines = [LibraryLine("", np.zeros((NUM_CODEBOOKS, 1), np.int16), [])]
    for number, text in enumerate(texts, start=1):
        words = [(word, LINE_WORD_FRAMES * place) for place, word in enumerate(text.split())]
        length = LINE_WORD_FRAMES * len(words) + 6
        codes = np.stack([np.full(length, number), np.arange(1, length + 1)]).astype(np.int16)
        lines.append(LibraryLine(text, codes, words))
    return lines
