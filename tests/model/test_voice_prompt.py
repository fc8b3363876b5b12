"""Voices: published ones out of their archive, recordings through the codec, and refusals of all else."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import voice_prompt
from model.errors import CheckpointError, ModelError, PromptError
from model.loudness import loudness_lufs
from model.voice_prompt import NOT_YET, VoiceShelf, published_voice, voice_sound
from tests.model import tiny
from tests.model.published import VOICE_FRAMES, voice_codes, voice_file, write_voices
from tests.model.tiny import WIDE_LM_CONFIG

pytestmark = pytest.mark.usefixtures("no_gradients")


def _shelf(*places: Path) -> VoiceShelf:
    return VoiceShelf(places, WIDE_LM_CONFIG, tiny.codec())


def _speech(seconds: float, rate_hz: int = 24_000, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))


def _wav(sound: np.ndarray, rate_hz: int = 24_000) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound, rate_hz, format="WAV", subtype="FLOAT")
    return content.getvalue()


def test_a_published_voice_is_its_inputs_and_the_columns_it_ends_with(tmp_path: Path) -> None:
    write_voices(tmp_path / "voices.tgz", {"./voices/NATF0.pt": voice_file(), "voices/._NATF0.pt": b"junk"})
    shelf = _shelf(tmp_path / "voices.tgz")
    assert shelf.names == ("NATF0",)
    voice = shelf.load("NATF0")
    assert voice.embeddings is not None and voice.last_column is not None and voice.pending is not None
    assert voice.embeddings.shape == (VOICE_FRAMES - 1, WIDE_LM_CONFIG.dim)
    assert voice.num_frames == VOICE_FRAMES
    codes = voice_codes()
    for stream, delay in enumerate(WIDE_LM_CONFIG.delays[1:], start=1):
        # The last position that is whole lies one before the frames' number; delayed codes are a frame late.
        assert voice.last_column[stream] == codes[stream - 1, VOICE_FRAMES - 1 - delay], stream
        expected = codes[stream - 1, VOICE_FRAMES - 1] if delay else NOT_YET
        assert voice.pending[stream] == expected, stream
    assert [int(voice.last_column[0]), int(voice.pending[0])] == [3, NOT_YET]


def test_a_recording_becomes_codes_of_whole_frames(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "Ann.wav").write_bytes(_wav(_speech(1.0)))
    soundfile.write(tmp_path / "voices" / "Ben.flac", np.stack([_speech(1.0, 16_000)] * 2, axis=1), 16_000)
    shelf = _shelf(tmp_path / "voices")
    assert shelf.names == ("Ann", "Ben")
    voice = shelf.load("Ann")
    assert voice.codes is not None
    assert voice.codes.shape == (8, 13), "12.5 frames, the last one filled up"
    assert voice.codes.dtype == torch.int64
    assert shelf.load("Ben").num_frames == 13
    own = shelf.read(tmp_path / "voices" / "Ann.wav")
    assert own.codes is not None
    assert torch.equal(own.codes, voice.codes)


def test_an_operators_voice_stands_before_the_archives(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "NATF0.wav").write_bytes(_wav(_speech(1.0)))
    write_voices(tmp_path / "voices.tgz", {"voices/NATF0.pt": voice_file(), "voices/NATM1.pt": voice_file()})
    shelf = _shelf(tmp_path / "voices", tmp_path / "voices.tgz")
    assert shelf.names == ("NATF0", "NATM1")
    assert shelf.load("NATF0").codes is not None
    assert shelf.load("NATM1").embeddings is not None


@pytest.mark.parametrize("level", [0.003, 0.5])
@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 44_100])
def test_a_recording_is_brought_to_one_loudness_and_rate(level: float, rate_hz: int) -> None:
    pcm = voice_sound(_wav(_speech(1.0, rate_hz, level), rate_hz), "x.wav")
    assert pcm.dtype == np.float32
    assert len(pcm) == 13 * 1920
    assert loudness_lufs(pcm[:24_000], 24_000) == pytest.approx(-24.0, abs=0.05)


def _saved(value: object) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


class _Runs:
    """A pickle of this would run a program where it is opened without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("must-not-exist"),))  # type: ignore[return-value]


def _zip(name: str, size: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    return content.getvalue()


VOICE = voice_file()
CACHE = torch.zeros(1, 17, 4, dtype=torch.int64)
EMBEDDINGS = torch.zeros(5, 1, 1, 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no published voice"),
        (b"PK\x03\x04 and nothing else", "is no published voice"),
        (pickle.dumps({"embeddings": 1}), "is no published voice"),
        (_saved({"embeddings": _Runs(), "cache": CACHE}), "more than tensors"),
        (_saved([EMBEDDINGS]), "holds no embeddings and cache"),
        (
            _saved({"embeddings": EMBEDDINGS, "cache": CACHE, "more": 1}),
            "no embeddings and cache alone",
        ),
        (_saved({"embeddings": EMBEDDINGS, "cache": 4}), "are not tensors"),
        (_saved({"embeddings": EMBEDDINGS.to_sparse(), "cache": CACHE}), "are not stored plainly"),
        (_saved({"embeddings": EMBEDDINGS.to("meta"), "cache": CACHE}), "are not stored plainly"),
        (_saved({"embeddings": EMBEDDINGS / 0, "cache": CACHE}), "numbers that are not finite"),
        (_saved({"embeddings": EMBEDDINGS[..., :32], "cache": CACHE}), r"another model.*\[T, 1, 1, 64\]"),
        (_saved({"embeddings": EMBEDDINGS[:0], "cache": CACHE}), "another model"),
        (_saved({"embeddings": EMBEDDINGS, "cache": CACHE[..., :3]}), r"another model.*\[1, 17, 4\]"),
        (_saved({"embeddings": EMBEDDINGS, "cache": CACHE.float()}), "torch.float32"),
        (_saved({"embeddings": EMBEDDINGS, "cache": CACHE + 40}), "tokens that this model does not have"),
        (_saved({"embeddings": EMBEDDINGS, "cache": CACHE - 1}), "tokens that this model does not have"),
        (_zip("x", voice_prompt.MAX_VOICE_BYTES + 1), "unfolds to more than 64 MiB"),
    ],
)
def test_what_is_no_published_voice_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        published_voice("v", content, WIDE_LM_CONFIG, "v.pt")
    assert not Path("must-not-exist").exists()


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (b"no sound", "is no sound file"),
        (_wav(np.zeros(24_000)), "is silent"),
        (_wav(_speech(0.2)), "shorter than 0.4 s"),
        (_wav(_speech(61.0, 8_000), 8_000), "lasts 61 s; a voice takes at most 60 s"),
    ],
)
def test_what_is_no_recording_of_a_voice_is_refused(sound: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        voice_sound(sound, "v.wav")


def _link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../NATF0.pt": b"x"}, "no plain file of its own"),
        ({"/voices/NATF0.pt": b"x"}, "no plain file of its own"),
        ({"voices/NATF0.pt": _link("voices/NATF0.pt")}, "no plain file of its own"),
        ({"voices/NATF0.pt": b"x" * 2000}, "unfolds to more than voices take"),
    ],
)
def test_an_archive_with_what_it_should_not_hold_is_refused(
    members: Mapping[str, bytes | tarfile.TarInfo],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice_prompt, "MAX_VOICE_BYTES", 1000)
    write_voices(tmp_path / "voices.tgz", members)
    with pytest.raises(CheckpointError, match=message):
        _ = _shelf(tmp_path / "voices.tgz").names


def test_a_damaged_archive_a_strange_file_and_an_unknown_name_are_named(tmp_path: Path) -> None:
    path = tmp_path / "voices.tgz"
    write_voices(path, {"voices/NATF0.pt": voice_file()})
    with pytest.raises(PromptError, match="there is no voice 'NATM9'; this model has NATF0"):
        _shelf(path).load("NATM9")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"no whole tar\.gz archive"):
        _ = _shelf(path).names
    with pytest.raises(CheckpointError, match=r"is no voice; \.pt, \.wav, \.flac are"):
        _shelf().read(tmp_path / "voice.mp3")
    with pytest.raises(CheckpointError, match="does not exist"):
        _shelf().read(tmp_path / "voice.wav")
    with pytest.raises(PromptError, match="this model has none"):
        _shelf().load("x")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), min_size=1, max_size=6))
def test_a_damaged_voice_is_refused_or_harmless(changes: list[tuple[int, bytes]]) -> None:
    content = VOICE
    for place, new in changes:
        at = place % len(content)
        content = content[:at] + new + content[at + len(new) + 1 :]
    try:
        published_voice("v", content, WIDE_LM_CONFIG, "v.pt")
    except ModelError:
        pass
