"""Wordings are enough, distinct, and held-out ones are kept apart."""

from model.phrasings import LEAD_INS, ORDER_OPENERS, PHRASINGS, Intent


def test_held_out_wordings_cannot_come_up_in_training() -> None:
    """Not even as a trained opening before a trained wording."""
    groups = [*PHRASINGS.items(), ("order", ORDER_OPENERS)]
    for name, wordings in groups:
        trained = {(lead + text).lower() for lead in LEAD_INS.train for text in wordings.train}
        held = {(lead + text).lower() for lead in LEAD_INS.held_out for text in wordings.held_out}
        assert not trained & held, name
        assert len(wordings.held_out) >= 4 and len(wordings.train) >= 25, name


def test_no_wording_means_two_things() -> None:
    meanings: dict[str, set[str]] = {}
    for intent, wordings in PHRASINGS.items():
        for lead in {*LEAD_INS.train, *LEAD_INS.held_out}:
            for text in (*wordings.train, *wordings.held_out):
                meanings.setdefault((lead + text).lower(), set()).add(intent.value)
    assert {text: found for text, found in meanings.items() if len(found) > 1} == {}


def test_every_intent_has_wordings_or_is_put_together() -> None:
    assert set(Intent) - set(PHRASINGS) == {Intent.ORDER, Intent.CHANGE, Intent.BACKCHANNEL}
