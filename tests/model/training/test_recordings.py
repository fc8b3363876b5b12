"""Recordings for the codec: shards like the bank's, resumable, what is left out counted, sources kept."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.channel import resample
from model.errors import RecordingError
from model.order_line import Intent, Order, Request
from model.training import recordings
from model.training.alignment import NotAligned
from model.training.bank import Stem, load_shard
from model.training.feed import Share
from model.training.folds import Selection, fold_of
from model.training.recording_folder import Recording
from model.training.recording_turns import MARGIN_S, TurnMaker, load_sound
from model.training.recordings import RECORDED_COPIES, RECORDED_SHARE, RecordedCallers
from model.voices import Voice, synthesize

RATE = 24_000
SPEAKER = Voice("flite", "slt")
SAID = {
    "one": "The weather is warm today.",
    "two": "I left my coat at the station.",
    "three": "Nobody came to the second meeting.",
}


def _write(path: Path, text: str, rate_hz: int = 16_000) -> None:
    pcm = resample(synthesize(text, SPEAKER).pcm, RATE, rate_hz)
    soundfile.write(path, np.stack([pcm, 0.5 * pcm], axis=1), rate_hz)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sentences that can be aligned, two recordings that cannot, one file without a line."""
    made = tmp_path / "people"
    made.mkdir()
    for (name, text), rate_hz in zip(SAID.items(), (8_000, 22_050, 44_100), strict=True):
        _write(made / f"{name}.flac", text, rate_hz)
    _write(made / "wrong.flac", "Something else was said here.")
    _write(made / "unlisted.flac", "Hello.")
    (made / "broken.wav").write_bytes(b"RIFF but no sound")
    lines = [*SAID.items(), ("wrong", "It is a long way to the mountains from here."), ("broken.wav", "No.")]
    (made / "transcripts.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in lines), "utf-8")
    (made / "SOURCES.md").write_text("People of the town, CC0 1.0.\n", "utf-8")
    return made


def _shards(callers: RecordedCallers) -> list[Path]:
    return sorted(callers.store.glob("*/*.npz"))


def _texts(stem: Stem) -> list[str]:
    return [turn.request.text for turn in stem.turns if turn.request is not None]


def _stem(name: str) -> Stem:
    return Stem(name, [])


def test_a_turn_is_cut_to_its_words(tmp_path: Path) -> None:
    speech = synthesize(SAID["two"], SPEAKER)
    quiet = np.zeros(2 * RATE, np.float32)
    soundfile.write(tmp_path / "a.wav", 0.1 * np.concatenate([quiet, speech.pcm, quiet]), RATE)
    [turn] = TurnMaker().make(Recording(tmp_path / "a.wav", SAID["two"]), "sentences")
    assert turn.request == Request(Intent.OTHER, SAID["two"])
    spoken_s = speech.words[-1].end_s - speech.words[0].start_s
    assert len(turn.pcm) / RATE == pytest.approx(spoken_s + 2 * MARGIN_S, abs=0.15)
    assert turn.words[0].start_s == pytest.approx(MARGIN_S, abs=1e-3)
    assert np.abs(turn.pcm).max() == pytest.approx(0.5, abs=0.01)
    shift_s = turn.words[0].start_s - speech.words[0].start_s
    errors_s = [
        found.end_s - truth.end_s - shift_s for found, truth in zip(turn.words, speech.words, strict=True)
    ]
    assert np.median(np.abs(errors_s)) < 0.06
    assert 0 <= turn.phones[0].start_s
    assert turn.phones[-1].end_s <= len(turn.pcm) / RATE


@pytest.mark.parametrize(
    ("pcm", "reason"),
    [
        (np.zeros(8_000), "no sound"),
        (np.zeros(0), "no sound"),
        (np.full(8_000, np.nan), "no sound"),
        (np.ones(8_000 * 31), "longer than 30 s"),
    ],
)
def test_sound_of_no_use_is_told_apart(tmp_path: Path, pcm: np.ndarray, reason: str) -> None:
    soundfile.write(tmp_path / "a.wav", pcm, 8_000, subtype="FLOAT")
    with pytest.raises(NotAligned, match=reason):
        load_sound(tmp_path / "a.wav")


def test_shards_hold_what_fits_and_the_report_counts_the_rest(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    callers = RecordedCallers([folder], tmp_path)
    callers.build(0, said.append)
    [shard] = _shards(callers)
    assert shard == tmp_path / "recordings" / "people" / "recordings-people-0000.npz"
    [stem] = load_shard(shard)
    assert stem.voice == "recorded/people"
    assert _texts(stem) == list(SAID.values())
    assert "people: 3 of 5 aligned" in said[-1]
    for left_out in ("1 for sound that does not fit", "1 for not a sound file", "1 for no line in"):
        assert left_out in said[-1]


def test_building_is_taken_up_and_follows_the_transcripts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "RECORDINGS_PER_SHARD", 2)
    monkeypatch.setattr(recordings, "SENTENCES_PER_STEM", 1)
    said: list[str] = []
    callers = RecordedCallers([folder], tmp_path)
    callers.build(0, said.append)
    assert len(said) == 4
    first, second = _shards(callers)  # the third holds nothing but broken.wav
    assert [len(load_shard(first)), len(load_shard(second))] == [2, 1]
    first.with_suffix(".json").unlink()
    said.clear()
    callers.build(0, said.append)
    assert said[:-1] == ["recordings: recordings-people-0000"], "only what lacks its account"

    lines = (folder / "transcripts.tsv").read_text("utf-8").splitlines()
    (folder / "transcripts.tsv").write_text("\n".join(lines[1:2]), "utf-8")
    callers.build(0, said.append)
    [shard] = _shards(callers)
    assert [text for stem in load_shard(shard) for text in _texts(stem)] == [SAID["two"]]
    assert "1 of 1 aligned" in said[-1]
    assert len(list(shard.parent.iterdir())) == 3, "no shard of lines that are gone"


def test_a_folder_of_which_nothing_can_be_aligned_is_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "transcripts.tsv").write_text("wrong\tIt is a long way to the mountains from here.\n", "utf-8")
    callers = RecordedCallers([folder], tmp_path)
    with pytest.raises(RecordingError, match="0 of 1 aligned"):
        callers.build(0, lambda text: None)
    with pytest.raises(RecordingError, match="run the stage `recordings` first"):
        callers.note_heard(anew=True)


def test_folders_are_told_apart_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="same name"):
        RecordedCallers([folder, tmp_path / "elsewhere" / "people"], tmp_path)
    with pytest.raises(RecordingError, match="is not a folder"):
        RecordedCallers([folder, tmp_path / "nowhere"], tmp_path).check()


def test_recordings_take_their_share_of_the_draws(folder: Path, tmp_path: Path) -> None:
    callers = RecordedCallers([folder], tmp_path)
    callers.build(0, lambda text: None)
    draw = callers.mix(lambda rng: _stem("synthetic"), Share(0, 1, 5))
    rng = random.Random(1)
    drawn = [draw(rng).voice for _ in range(1000)]
    assert set(drawn) == {"synthetic", "recorded/people"}
    assert drawn.count("recorded/people") / 1000 == pytest.approx(RECORDED_SHARE, abs=0.05)


def test_without_folders_nothing_changes(tmp_path: Path) -> None:
    none = RecordedCallers([], tmp_path)

    def draw(rng: random.Random) -> Stem:
        return _stem("synthetic")

    none.check()
    none.build(0, lambda text: pytest.fail(text))
    none.note_heard(anew=True)
    assert none.mix(draw, Share(0, 1, 5)) is draw
    assert list(tmp_path.iterdir()) == []


def test_sources_follow_the_codec_that_heard_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "SOURCES.md").write_text("stale", "utf-8")
    none = RecordedCallers([], tmp_path)
    none.export(out)
    assert not (out / "SOURCES.md").exists()

    heard = RecordedCallers([folder], tmp_path)
    heard.build(0, lambda text: None)
    heard.note_heard(anew=True)
    heard.note_heard(anew=False)
    none.note_heard(anew=False)  # taken up without the option: it has heard them all the same
    none.export(out)
    text = (out / "SOURCES.md").read_text("utf-8")
    assert text.startswith("# Recordings that the codec was trained on")
    assert text.count("## people") == text.count("People of the town, CC0 1.0.") == 1

    none.note_heard(anew=True)
    none.export(out)
    assert not (out / "SOURCES.md").exists()


def test_real_callers_become_a_bank_of_their_own(tmp_path: Path) -> None:
    made = tmp_path / "orders"
    made.mkdir()
    for name, text in (("a", "give me a large latte"), ("b", "make me a small mocha")):
        _write(made / f"{name}.flac", text)
    slots = {"a": {"size": "large", "coffeeDrink": "latte"}, "b": {"size": "small", "coffeeDrink": "mocha"}}
    (made / "labels.json").write_text(
        json.dumps({name: {"slots": said} for name, said in slots.items()}), "utf-8"
    )
    entry = "name = 'orders'\nfolder = '.'\nlayout = 'orders'\nlicence = 'CC0 1.0'\nsource = 'Made here'\n"
    (made / "corpora.toml").write_text(f"[[corpus]]\n{entry}", "utf-8")
    said: list[str] = []
    callers = RecordedCallers([made], tmp_path)
    callers.build(0, said.append)
    assert "orders: 2 of 2 aligned" in said[-1]
    paths = callers.write_bank(tmp_path / "bank", ["5551234"])
    assert len(paths) == RECORDED_COPIES
    stems = load_shard(paths[0])
    assert [len(stem.turns) for stem in stems] == [2], "people who order once share a stem"
    orders = {turn.request.order for stem in stems for turn in stem.turns if turn.request}
    lengths = {tuple(sorted(len(turn.pcm) for turn in load_shard(path)[0].turns)) for path in paths}
    assert len(lengths) > 2, "copies are spoken at several speeds"
    assert orders == {Order("latte", "large"), Order("mocha", "small")}
    account = json.loads((callers.store / "orders" / "recordings-orders-0000.json").read_text("utf-8"))
    assert account["clips"]["orders/a"] == ["a", fold_of("orders/a"), True]
    fewer = RecordedCallers([made], tmp_path, Selection(left_out_fold=fold_of("orders/a")))
    [first, *_] = fewer.write_bank(tmp_path / "fewer", [])
    assert "orders/a" not in {turn.clip for stem in load_shard(first) for turn in stem.turns}
    fewer.note_heard(anew=True)
    fewer.export(tmp_path)
    assert "Made here. Licence: CC0 1.0." in (tmp_path / "SOURCES.md").read_text("utf-8")
    assert "left out" in (tmp_path / "SOURCES.md").read_text("utf-8")
