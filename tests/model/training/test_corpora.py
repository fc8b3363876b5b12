"""A list of corpora as its user writes it, and what each layout is taken to say."""

import json
from pathlib import Path

import pytest

from model.errors import RecordingError
from model.training.corpora import find_corpora

ENTRY = """[[corpus]]
name = "{name}"
folder = "{name}"
layout = "{layout}"
licence = "CC0 1.0"
source = "Made here"
"""


def _listed(folder: Path, layout: str, files: list[str], more: str = "", name: str = "said") -> Path:
    (folder / name).mkdir()
    for file in files:
        (folder / name / file).write_bytes(b"")
    path = folder / "corpora.toml"
    path.write_text(ENTRY.format(name=name, layout=layout) + more, "utf-8")
    return path


def test_digits_name_their_speaker_and_come_evenly(tmp_path: Path) -> None:
    files = [f"{d}_{who}_{n}.flac" for d in (7, 0) for who in ("theo", "ann") for n in (10, 2)]
    listed = _listed(tmp_path, "digits", [*files, "notes.flac", "README.md"])
    [corpus] = find_corpora([listed])
    read = corpus.read()
    assert [(r.path.stem, r.text, r.speaker) for r in read.recordings[:4]] == [
        ("0_ann_2", "zero", "ann"),
        ("7_ann_2", "seven", "ann"),
        ("0_ann_10", "zero", "ann"),
        ("7_ann_10", "seven", "ann"),
    ]
    assert (read.num_unlisted, read.folds_by_speaker) == (1, True)
    assert read.sources == "Made here. Licence: CC0 1.0."


def test_orders_carry_the_slots_of_their_label(tmp_path: Path) -> None:
    listed = _listed(tmp_path, "orders", ["a.opus", "b.opus", "c.opus"])
    labels = {
        "a": {"slots": {"size": "large", "coffeeDrink": "mocha"}},
        "c": {"slots": {"coffeeDrink": "latte"}},
    }
    (tmp_path / "said" / "labels.json").write_text(json.dumps(labels), "utf-8")
    [corpus] = find_corpora([tmp_path])
    read = corpus.read()
    assert [(r.path.name, dict(r.slots), r.speaker) for r in read.recordings] == [
        ("a.opus", {"size": "large", "coffeeDrink": "mocha"}, "a"),
        ("c.opus", {"coffeeDrink": "latte"}, "c"),
    ]
    assert read.num_unlisted == 1
    wrongs: tuple[object, ...] = (
        {"a": 3},
        {"a": {"slots": {"coffeeDrink": "plum cake"}}},
        {"a": {"slots": {}}},
    )
    for wrong in wrongs:
        (tmp_path / "said" / "labels.json").write_text(json.dumps(wrong), "utf-8")
        with pytest.raises(RecordingError, match=r"labels.json is not of the form"):
            find_corpora([listed])[0].read()


def test_patterns_find_speaker_and_word_in_a_name(tmp_path: Path) -> None:
    more = "speaker = '-(s[0-9]+)$'\ntext = '^(.+)-'\n"
    _listed(tmp_path, "words", ["smart_mirror-s2.wav", "hello-s1.wav"], more)
    [corpus] = find_corpora([tmp_path])
    assert [(r.text, r.speaker) for r in corpus.read().recordings] == [
        ("hello", "s1"),
        ("smart mirror", "s2"),
    ]


def test_one_folder_may_hold_two_corpora(tmp_path: Path) -> None:
    listed = _listed(tmp_path, "noise", ["kitchen_a.wav", "street.wav"], "files = 'kitchen*'\n")
    [corpus] = find_corpora([listed])
    assert [recording.path.name for recording in corpus.read().recordings] == ["kitchen_a.wav"]


def test_sentences_stand_in_their_transcripts(tmp_path: Path) -> None:
    listed = _listed(tmp_path, "sentences", ["one.wav", "two.wav"])
    (tmp_path / "said" / "transcripts.tsv").write_text("two\tGood evening.\n", "utf-8")
    [corpus] = find_corpora([listed])
    [recording] = corpus.read().recordings
    assert (recording.path.name, recording.text, recording.speaker) == ("two.wav", "Good evening.", "said")
    assert corpus.read().num_unlisted == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("corpus = 3", "no list of"),
        ("[[corpus]\n", "no list of"),
        ("[[corpus]]\nname = 'a'\n", "lacks .*licence.*: add them"),
        (ENTRY.format(name="a", layout="songs"), "layout 'songs' is none of"),
        (ENTRY.format(name="../a", layout="words"), "may hold letters"),
        (ENTRY.format(name="a", layout="words") + "speker = 'one'", "unknown fields"),
        (ENTRY.format(name="a", layout="words") + "text = '('", "no regular expression"),
        (2 * ENTRY.format(name="a", layout="words"), "same name"),
    ],
)
def test_a_wrong_list_is_told_with_its_remedy(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "corpora.toml").write_text(text, "utf-8")
    with pytest.raises(RecordingError, match=reason):
        find_corpora([tmp_path])


def test_a_listed_folder_that_is_missing_or_empty_is_an_error(tmp_path: Path) -> None:
    [corpus] = find_corpora([_listed(tmp_path, "speech", [])])
    with pytest.raises(RecordingError, match="holds no recording of layout 'speech'"):
        corpus.read()
    (tmp_path / "said").rmdir()
    with pytest.raises(RecordingError, match="mend `folder` of said"):
        corpus.read()
