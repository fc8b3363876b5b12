"""A caller and an agent's library whose tokens name themselves, so that a call can be read back from them."""

import numpy as np

from model.order import Change, Order
from model.order_line import read_number, readback
from model.phrasings import Intent
from model.requests import Request
from model.training.pool import Pool
from model.training.tokens_stage import LibraryLine, TokenStem, TokenTurn

NUM_CODEBOOKS = 2
LINE_WORD_FRAMES = 4  # a word of the agent's lasts so long
LAST_COLD_FRAME = 7  # of the caller's line, which every call begins with
PAUSE_FRAMES = 12
LATTE, COFFEE = Order("latte", "large"), Order("coffee", None, "cream")
SMALLER = Change(size="small")
LONG = Order("latte", "large", "milk", "dark roast")
PAUSED = Request(Intent.ORDER, "a large dark roast latte with milk", LONG)  # after "roast"
REQUESTS = (
    Request(Intent.ORDER, "a large latte", LATTE),
    Request(Intent.ORDER, "just coffee with cream", COFFEE),
    PAUSED,
    Request(Intent.CHANGE, "make it a small one", change=SMALLER),
    Request(Intent.NUMBER, "my number is five five five one two three four", number="5551234"),
    Request(Intent.YES, "yes please"),
    Request(Intent.NO, "no"),
    Request(Intent.HOURS, "when do you open"),
    Request(Intent.WHERE, "where are you"),
    Request(Intent.PERSON, "can I talk to a person"),
    Request(Intent.REPEAT, "pardon"),
    Request(Intent.GOODBYE, "goodbye"),
    Request(Intent.CANCEL, "cancel that"),
    Request(Intent.STATUS, "where is my order"),
    Request(Intent.OTHER, "my phone is broken"),
    Request(Intent.UNCLEAR, "the um"),
    Request(Intent.BACKCHANNEL, "mhm"),
)
DISTRACTOR_FRAMES = 9


def stem(requests: tuple[Request | None, ...] = REQUESTS, kind: str = "cough") -> TokenStem:
    """A caller who says each request once; code 0 is the frame's number in the stem, code 1 is 1.

    None is a distractor of this kind. The PAUSED order pauses after its fourth word.
    """
    turns: list[TokenTurn] = []
    idle = list(range(LAST_COLD_FRAME + 1, 12))
    at = 14
    for request in requests:
        if request is None:
            turn = TokenTurn(None, at, at + DISTRACTOR_FRAMES, [], kind=kind)
        else:
            turn = _turn(request, at)
        turns.append(turn)
        idle += range(turn.last + 4, turn.last + 11)
        at = turn.last + 13
    codes = np.stack([np.arange(at), np.ones(at)]).astype(np.int16)
    return TokenStem(codes, turns, np.array(idle))


def _turn(request: Request, at: int) -> TokenTurn:
    words: list[tuple[str, int]] = []
    pauses: tuple[tuple[int, int], ...] = ()
    for place, word in enumerate(request.text.split()):
        late = PAUSE_FRAMES if request is PAUSED and place >= 4 else 0
        words.append((word, at + 4 + 5 * place + late))
        if request is PAUSED and place == 3:
            pauses = ((words[-1][1] + 1, words[-1][1] + PAUSE_FRAMES),)
    return TokenTurn(request, at, words[-1][1], words, pauses)


def agent_library() -> list[LibraryLine]:
    """Silence (zeros) and every line; code 0 is the line's number, code 1 the frame in it, both from 1 on."""
    orders = (LATTE, COFFEE, LONG, *(SMALLER.apply(order) for order in (LATTE, COFFEE, LONG)))
    said = [line for line in dict.fromkeys(Pool.fixed_lines()) if not line.is_soft]
    said += [*(readback(order) for order in orders), read_number("5551234")]
    lines = [LibraryLine("", np.zeros((NUM_CODEBOOKS, 1), np.int16), [])]
    for number, line in enumerate(said, start=1):
        words = [(word, LINE_WORD_FRAMES * place) for place, word in enumerate(line.text.split())]
        length = LINE_WORD_FRAMES * len(words) + 6
        codes = np.stack([np.full(length, number), np.arange(1, length + 1)]).astype(np.int16)
        lines.append(LibraryLine(line.text, codes, words))
    return lines
