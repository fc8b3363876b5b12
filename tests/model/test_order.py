"""Orders as callers word them, and as the agent names them."""

import pytest

from model.order import (
    Change,
    Number,
    Order,
    change_from_json,
    describe_tersely,
    num_named,
    order_as_json,
    understand,
)

LATTE = Order("latte", "large", "soy milk")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("can I get a large latte with soy milk please", LATTE),
        ("a small no a large latte with almond milk no with soy milk", LATTE),
        ("can I get a can I get a large um latte with some soy milk", LATTE),
        ("soy milk in a large latte", LATTE),
        ("an americano with lots of cream and a bit of sugar",
         Order("americano", None, "a lot of cream", sugar="a little sugar")),
        ("a dark roast medium double shot iced mocha",
         Order("iced mocha", "medium", None, "dark roast", "double shot")),
        ("no a large one", Change(size="large")),
        ("make it a mocha without sugar", Change(drink="mocha", without=("sugar",))),
        ("no milk", Change(without=("milk",))),
        ("with soy milk instead", Change(milk="soy milk")),
        ("my number is double five five one two oh four", Number("5551204")),
        ("where is the coffee shop", None),
        ("is my coffee ready", None),
        ("", None),
    ],
)  # fmt: skip
def test_words_are_understood(words: str, meant: object) -> None:
    assert understand(words) == meant


def test_changes_merge() -> None:
    assert Change(size="small", without=("milk",)).apply(LATTE) == Order("latte", "small")
    assert Change(sugar="sugar").as_order() is None
    assert Change(drink="mocha", milk="cream").as_order() == Order("mocha", None, "cream")


def test_labels_of_recordings_are_orders() -> None:
    labels = {
        "coffeeDrink": "latte",
        "milkAmount": " milk",
        "sugarAmount": "lots of sugar",
        "size": "eight ounce",
    }
    assert Order.from_labels(labels) == Order("latte", "eight ounce", "milk", sugar="a lot of sugar")
    with pytest.raises(ValueError, match="no slot is called 'cup'"):
        Order.from_labels({"cup": "paper"})
    with pytest.raises(ValueError, match="'huge' is no size"):
        Order.from_labels({"coffeeDrink": "latte", "size": "huge"})
    with pytest.raises(ValueError, match="no coffeeDrink"):
        Order.from_labels({"size": "large"})


def test_terse_names_and_json() -> None:
    assert describe_tersely(LATTE) == "Large latte, soy milk"
    assert Order(**order_as_json(LATTE)) == LATTE  # type: ignore[arg-type]
    change = Change(size="small", without=("milk",))
    assert change_from_json(order_as_json(change)) == change
    with pytest.raises(TypeError, match="'cup'"):
        change_from_json({"cup": "paper"})
    assert (num_named(LATTE), num_named(change), num_named(None)) == (3, 1, 0)
