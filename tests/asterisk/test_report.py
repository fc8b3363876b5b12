"""Verdicts of the trial against Asterisk: what fails, and how it is told."""

import json

from tests.asterisk.report import Verdict, as_json, table


def test_a_verdict_is_right_only_when_all_it_heard_is() -> None:
    verdict = Verdict("pcmu")
    assert not verdict.is_right, "it has heard nothing"
    verdict.hear("out", [True] * 3, 3)
    assert verdict.is_right
    verdict.check(True, "never")
    assert verdict.is_right
    verdict.check(False, "the codec is PCMA")
    assert not verdict.is_right and verdict.faults == ["the codec is PCMA"]


def test_seconds_that_are_wrong_or_missing_are_named() -> None:
    verdict = Verdict("hold")
    verdict.hear("in", [True, False, True], 3)
    verdict.hear("out", [True], 2)
    assert verdict.faults == ["in: 1 of 3 seconds wrong (1)", "out: 1 of 2 seconds heard"]
    verdict = Verdict("long")
    verdict.hear("out", [False] * 12, 12)
    assert verdict.faults == ["out: 12 of 12 seconds wrong (0, 1, 2, 3, 4, 5, 6, 7, 8, 9...)"]


def test_table_and_json_tell_the_same() -> None:
    right = Verdict("pcmu", [True] * 5, {"codec": "PCMU/8000"}, took_s=12.34)
    wrong = Verdict("hold", [True, False], {}, ["in: 1 of 2 seconds wrong (1)"], 3.0)
    lines = table([right, wrong]).splitlines()
    assert lines[1].split() == "pcmu ok 5 of 5 12 s codec PCMU/8000".split()
    assert lines[0].index("remarks") == lines[1].index("codec") == lines[2].index("in: ")
    assert lines[2].split() == "hold FAILED 1 of 2 3 s in: 1 of 2 seconds wrong (1)".split()
    told = json.loads(as_json("Asterisk 22.10.1", [right, wrong]))
    assert (told["asterisk"], told["is_right"]) == ("Asterisk 22.10.1", False)
    assert told["scenarios"][0] == {
        "name": "pcmu",
        "is_right": True,
        "seconds": 5,
        "seconds_right": 5,
        "took_s": 12.3,
        "facts": {"codec": "PCMU/8000"},
        "faults": [],
    }
    assert json.loads(as_json("", [right]))["is_right"] and not json.loads(as_json("", []))["is_right"]
