"""An order's words are found though only its slots are known."""

import numpy as np
import pytest

from model.training.alignment import NotAligned
from model.training.order_transcripts import OrderTranscriber
from model.voices import Voice, synthesize

SLOTS = {
    "coffeeDrink": "iced mocha",
    "size": "large",
    "numberOfShots": "double shot",
    "milkAmount": " soy milk",
}


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("can i get a double shot large iced mocha with soy milk", SLOTS),
        (
            "i want an eight ounce light roast americano with lots of brown sugar and cream",
            {
                "coffeeDrink": "americano",
                "roast": "light roast",
                "size": "eight ounce",
                "sugarAmount": "lots of brown sugar",
                "milkAmount": " cream",
            },
        ),
    ],
)
def test_opener_and_order_of_slots_are_heard(text: str, slots: dict[str, str]) -> None:
    heard = OrderTranscriber().transcribe(synthesize(text, Voice("flite", "rms")).pcm, slots)
    assert heard == text


def test_the_same_recogniser_takes_one_order_after_another() -> None:
    transcriber = OrderTranscriber()
    for text, slots in (
        ("make me a small latte", {"coffeeDrink": "latte", "size": "small"}),
        ("give me an espresso", {"coffeeDrink": "espresso"}),
    ):
        assert transcriber.transcribe(synthesize(text, Voice("flite", "rms")).pcm, slots) == text


def test_silence_orders_nothing() -> None:
    with pytest.raises(NotAligned, match="no wording of this order fits"):
        OrderTranscriber().transcribe(np.zeros(24_000, np.float32), SLOTS)
