"""The words of a recorded order whose slots are known: a decode that may choose openers and order of slots.

The label says what was ordered, not how: a grammar of every wording of just this order is decoded, and what
it finds is then aligned like any other transcript. The shape is that of Picovoice's speech-to-intent
benchmark (2020): opener, article, size, roast and shots in any order, drink, then milk and sugar.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.training.alignment import NotAligned, load_decoder, search, sound_for_recogniser

DRINK = "coffeeDrink"
BEFORE_DRINK = ("size", "roast", "numberOfShots")
AFTER_DRINK = ("milkAmount", "sugarAmount")
_OPENERS = (
    "brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me", "may i have",
    "could i get", "could i have", "i'll have", "i would like", "please make me", "brew me", "make", "i need",
)  # fmt: skip
_GRAMMAR = "offhook_order"


def order_grammar(slots: Mapping[str, str]) -> str:
    """Every wording of an order with these slots, which `Order.from_labels` takes, as a grammar in JSGF."""
    before = _any_order([slots[name].split() for name in BEFORE_DRINK if name in slots], "")
    after = _any_order([slots[name].split() for name in AFTER_DRINK if name in slots], "[and] [with]")
    drink = " ".join(slots[DRINK].split())
    opener = " | ".join(_OPENERS)
    parts = ["[um | uh]", f"( {opener} )", "[a | an | the]", before, drink]
    parts += [f"[with] {after}"] if after else []
    return f"#JSGF V1.0; grammar {_GRAMMAR}; public <order> = {' '.join(filter(None, parts))} [please];"


def _any_order(phrases: list[list[str]], between: str) -> str:
    """The phrases in every order; `between` stands between two."""
    if not phrases:
        return ""
    joined = (f" {between} ".join(" ".join(words) for words in order) for order in permutations(phrases))
    return f"( {' | '.join(joined)} )"


class OrderTranscriber:
    """One recogniser for many orders."""

    def __init__(self) -> None:
        self._decoder: Any = load_decoder()

    def transcribe(self, pcm: NDArray[np.float32], slots: Mapping[str, str]) -> str:
        """What is said in float32 [T] at 24 kHz that orders these slots.

        Raises NotAligned if no wording of this order fits.
        """
        decoder = self._decoder
        decoder.add_jsgf_string(_GRAMMAR, order_grammar(slots))
        decoder.activate_search(_GRAMMAR)
        search(decoder, sound_for_recogniser(pcm))
        heard = decoder.hyp()
        if heard is None or not heard.hypstr:
            raise NotAligned("no wording of this order fits")
        return str(heard.hypstr)
