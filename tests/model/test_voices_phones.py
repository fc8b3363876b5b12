"""One inventory for all engines."""

import pytest

from model.voices_phones import (
    ARPABET,
    ESPEAK,
    PHONES,
    SpeechSynthesisError,
    from_int16,
    plain_word,
    speakable,
    split_evenly,
    to_inventory,
)


def test_unknown_phone_is_refused_and_every_entry_is_of_the_inventory() -> None:
    with pytest.raises(SpeechSynthesisError, match="'xx'"):
        to_inventory("xx", ARPABET, "flite")
    for table in (ARPABET, *ESPEAK.values()):
        assert {phone for phones in table.values() for phone in phones} <= set(PHONES)
    assert to_inventory("o@", ESPEAK["en-us"], "espeak-ng") == ("ao", "r")
    assert to_inventory("o@", ESPEAK["en"], "espeak-ng") == ("ao",)
    assert to_inventory("en", ARPABET, "festival") == ("ah", "n")
    assert [p.end_s for p in split_evenly(("ao", "r"), 1.0, 2.0)] == [1.5, 2.0]


def test_the_inventory_is_arpabet_and_silence() -> None:
    assert len(PHONES) == len(set(PHONES)) == 40 and PHONES[0] == "sil"


def test_text_is_made_plain() -> None:
    assert [plain_word(token) for token in speakable("  I\u2019d  like THAT, (please) - ok?").split()] == [
        "i'd", "like", "that", "please", "", "ok",
    ]  # fmt: skip
    with pytest.raises(SpeechSynthesisError, match="ASCII"):
        speakable("caf\u00e9")


def test_int16_becomes_float() -> None:
    assert from_int16(b"\x00\x80\x00\x40").tolist() == [-1.0, 0.5]
