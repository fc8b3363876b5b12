"""A folder of recordings: what it must hold, and errors that name file, line and remedy."""

from pathlib import Path

import pytest

from model.errors import RecordingError
from model.training.recording_folder import read_folder


def _folder(tmp_path: Path, transcripts: str | None = "a\tOne.\nb.wav\tTwo.\n") -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    for name in ("a.flac", "b.wav", "b.flac"):
        (folder / name).write_bytes(b"sound")
    (folder / "SOURCES.md").write_text("Made here. CC0 1.0.\n", encoding="utf-8")
    if transcripts is not None:
        (folder / "transcripts.tsv").write_text(transcripts, encoding="utf-8")
    return folder


def test_names_with_and_without_ending_find_their_files(tmp_path: Path) -> None:
    found = read_folder(_folder(tmp_path, "\ufeffa\tOne.\n\n b.wav \t Two. \n"))
    assert found.name == "people"
    assert [(r.path.name, r.text) for r in found.recordings] == [("a.flac", "One."), ("b.wav", "Two.")]
    assert found.sources.startswith("Made here.")
    assert found.num_unlisted == 1, "b.flac has no line"


@pytest.mark.parametrize(
    ("transcripts", "message"),
    [
        (None, "transcripts.tsv is missing: write one line for each recording"),
        (" \n", "transcripts.tsv is empty: write one line"),
        ("a\tOne.\na One.\n", "line 2 is not of the form"),
        ("a\t \n", "line 1 is not of the form"),
        ("\tOne.\n", "line 1 is not of the form"),
        ("a\tOne.\nc\tThree.\n", "line 2: there is no 'c' beside it: add the file or remove the line"),
        ("../a\tOne.\n", "line 1: there is no '../a'"),
        ("b\tTwo.\n", "line 1: 'b' may be b.flac, b.wav: write the name with its ending"),
        ("a\tOne.\n\na.flac\tOne.\n", "line 3 names a.flac a second time"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, transcripts: str | None, message: str) -> None:
    with pytest.raises(RecordingError, match=r"transcripts\.tsv") as raised:
        read_folder(_folder(tmp_path, transcripts))
    assert message in str(raised.value)


def test_sources_must_be_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "SOURCES.md").write_text("\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=r"SOURCES\.md is empty: say in it where"):
        read_folder(folder)
    (folder / "SOURCES.md").unlink()
    with pytest.raises(RecordingError, match=r"SOURCES\.md is missing: say in it where"):
        read_folder(folder)


def test_what_is_no_folder_and_no_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is not a folder"):
        read_folder(tmp_path / "nowhere")
    folder = _folder(tmp_path)
    (folder / "transcripts.tsv").write_bytes("a\tCafé.".encode("latin-1"))
    with pytest.raises(RecordingError, match="not UTF-8 at byte 5"):
        read_folder(folder)
