"""Speech as tokens: times lie on the sound, padding and company change nothing, shards are taken up."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.codec import Codec
from model.config import FRAME_SAMPLES
from model.errors import CheckpointError
from model.order_line import Intent, Order, Request
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn, save_shard
from model.training.tokens_stage import (
    AFTER_FRAMES,
    BATCH,
    BEFORE_FRAMES,
    LEAD_FRAMES,
    TokenStem,
    TokenTurn,
    build_tokens,
    encode_library,
    encode_padded,
    encode_stems,
    lay_out,
    load_stems,
    save_stems,
)
from model.voices import TimedWord
from tests.model import tiny
from tests.signals import noise, tone

RATE = 24_000
WORDS = [TimedWord("large", 0.11, 0.4), TimedWord("latte", 0.45, 0.83)]
LEVELS = (0.2, 0.6)
REQUEST = Request(Intent.ORDER, "large latte", Order("latte", "large"))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return tiny.codec()


def _turn(request: Request = REQUEST) -> Turn:
    """Two words of different level, silence before, between and after them."""
    pcm = np.zeros(RATE, np.float32)
    for level, word in zip(LEVELS, WORDS, strict=True):
        pcm[round(word.start_s * RATE) : round(word.end_s * RATE)] = level
    return Turn(request, pcm, WORDS, [])


def _stem(num_turns: int = 3) -> Stem:
    return Stem("levels", [_turn() for _ in range(num_turns)])


def _peaks(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """The loudest sample of each frame."""
    return np.asarray(np.abs(pcm.reshape(-1, FRAME_SAMPLES)).max(1), np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_turns_and_words_lie_where_their_sound_is(seed: int) -> None:
    pcm, turns, _ = lay_out(_stem(), np.random.default_rng(seed))
    assert pcm.dtype == np.float32 and len(pcm) % FRAME_SAMPLES == 0
    sounding = np.flatnonzero(_peaks(pcm))
    assert len(turns) == 3
    for turn in turns:
        assert turn.request == REQUEST
        mine = sounding[(sounding >= turn.first) & (sounding <= turn.last)]
        assert (mine[0], mine[-1]) == (turn.first, turn.last)
        assert not _peaks(pcm)[[turn.first - 1, turn.last + 1]].any()
        assert [word for word, _ in turn.words] == ["large", "latte"]
        for level, (_, frame) in zip(LEVELS, turn.words, strict=True):
            spoken = pcm[turn.first * FRAME_SAMPLES : (turn.last + 1) * FRAME_SAMPLES]
            last_sample = turn.first * FRAME_SAMPLES + np.flatnonzero(spoken == np.float32(level))[-1]
            assert last_sample // FRAME_SAMPLES == frame
    assert sounding[0] == turns[0].first >= LEAD_FRAMES


@pytest.mark.parametrize("seed", range(4))
def test_idle_frames_hold_only_the_line(seed: int) -> None:
    pcm, turns, idle = lay_out(_stem(), np.random.default_rng(seed))
    sounding = np.flatnonzero(_peaks(pcm))
    for frame in idle:
        assert not (sounding == frame).any()
        before, after = sounding[sounding < frame], sounding[sounding > frame]
        assert not len(before) or frame - before[-1] >= AFTER_FRAMES
        assert not len(after) or after[0] - frame > BEFORE_FRAMES
    for turn, following in pairwise(turns):
        assert ((idle > turn.last) & (idle < following.first)).sum() >= 4, "no line between two turns"
    assert (idle < turns[0].first).sum() >= 4


def test_a_pause_and_a_distractor_are_placed() -> None:
    """A turn's silence is told in frames; a sound without words is as long as it lasts."""
    paused = replace(_turn(), pauses=((0.4, 0.9),))
    cough = Turn(None, np.full(RATE // 2, 0.3, np.float32), [], [])
    pcm, (turn, distractor), _ = lay_out(Stem("x", [paused, cough]), np.random.default_rng(0))
    ((first, last),) = turn.pauses
    assert turn.words[0][1] < first <= last < turn.words[1][1] + 2 and last - first in (4, 5)
    assert distractor.request is None and distractor.words == []
    sounding = np.flatnonzero(_peaks(pcm) == np.float32(0.3))
    assert (sounding[0], sounding[-1]) == (distractor.first, distractor.last)


def test_turns_start_anywhere_in_a_frame() -> None:
    rng = np.random.default_rng(0)
    phases = {int(np.flatnonzero(lay_out(_stem(1), rng)[0])[0]) % FRAME_SAMPLES for _ in range(20)}
    assert len(phases) > 15


def test_padding_and_company_change_no_code(codec: Codec) -> None:
    sounds = [noise(frames * FRAME_SAMPLES / RATE, RATE, seed=frames) for frames in (5, 9, 3)]
    together = encode_padded(codec, sounds)
    assert [codes.shape for codes in together] == [(8, 5), (8, 9), (8, 3)]
    for sound, codes in zip(sounds, together, strict=True):
        assert codes.dtype == np.int16
        np.testing.assert_array_equal(encode_padded(codec, [sound])[0], codes)


def test_rough_codes_are_mostly_the_same(codec: Codec) -> None:
    sounds = [noise(2.0, RATE, seed=1)]
    exact, rough = encode_padded(codec, sounds)[0], encode_padded(codec, sounds, rough=True)[0]
    assert 0.8 < (exact == rough).mean() < 1


def test_a_stem_is_encoded_whole_and_its_line_comes_from_the_seed(codec: Codec) -> None:
    stems = [_stem(2), _stem(1)]
    one, same, other = (encode_stems(codec, stems, seed) for seed in (1, 1, 2))
    assert [len(stem.turns) for stem in one] == [1, 2], "like lengths are encoded together"
    for mine, again in zip(one, same, strict=True):
        np.testing.assert_array_equal(mine.codes, again.codes)
        assert mine.turns == again.turns
        assert mine.turns[-1].last < mine.codes.shape[1] > mine.idle.max()
    assert one[1].codes.shape != other[1].codes.shape or (one[1].codes != other[1].codes).any()


def _sentence(text: str, tail: float) -> AgentSentence:
    """A second of one tone and then one of another; the second word is the other tone's."""
    pcm = np.concatenate([tone(300, 1.0, RATE), tone(tail, 1.03, RATE)])
    return AgentSentence(text, pcm, [TimedWord("one", 0.04, 0.9), TimedWord("two", 1.0, 2.0)], [])


def test_library_lines_that_begin_alike_have_the_same_codes_so_far(codec: Codec) -> None:
    sentences = [_sentence(f"line {hz}", hz) for hz in (500, 700)]
    silence, one, two = encode_library(codec, sentences)
    assert silence.text == "" and silence.codes.shape == (8, 1)
    assert (one.text, two.text) == ("line 500", "line 700")
    np.testing.assert_array_equal(one.codes[:, :12], two.codes[:, :12])
    assert (one.codes[:, 12:] != two.codes[:, 12:]).any()
    assert one.words == [("one", 0), ("two", 12)]
    assert one.codes.shape[1] == -(-len(sentences[0].pcm) // FRAME_SAMPLES) + 2


def test_a_library_line_is_the_same_in_any_company(codec: Codec) -> None:
    alone = encode_library(codec, [_sentence("last", 900)])[1]
    company = [_sentence(f"line {hz}", hz) for hz in range(400, 400 + 10 * BATCH, 10)]
    last = encode_library(codec, [*company, _sentence("last", 900)])[-1]
    assert last.text == alone.text
    np.testing.assert_array_equal(last.codes, alone.codes)


def _token_stems() -> list[TokenStem]:
    stems = []
    for length in (30, 44):
        codes = np.random.default_rng(length).integers(0, 2048, (8, length)).astype(np.int16)
        turns = [
            TokenTurn(REQUEST, 14, 20, [("large", 17), ("latte", 20)]),
            TokenTurn(Request(Intent.YES, "yes"), 24, 26, [("yes", 26)], ((25, 25),)),
            TokenTurn(None, 27, 28, []),
        ]
        stems.append(TokenStem(codes, turns, np.arange(8, 12)))
    return stems


def test_a_shard_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "tokens-1-0000.npz"
    save_stems(_token_stems(), path)
    assert list(tmp_path.iterdir()) == [path]
    for was, now in zip(_token_stems(), load_stems(path), strict=True):
        np.testing.assert_array_equal(was.codes, now.codes)
        np.testing.assert_array_equal(was.idle, now.idle)
        assert was.turns == now.turns
        assert now.codes.dtype == np.int16


def test_what_a_broken_off_write_leaves_is_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for save, shard in (("savez_compressed", "tokens-1-0000.npz"), ("savez", "bank-1-0000.npz")):
        monkeypatch.setattr(np, save, stop)
        with pytest.raises(KeyboardInterrupt):
            if save == "savez":
                save_shard([_stem()], tmp_path / shard)
            else:
                save_stems(_token_stems(), tmp_path / shard)
    assert list(tmp_path.iterdir())
    assert not list(tmp_path.glob("*.npz"))


def test_tokens_of_another_order_line_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens-1-0000.npz"
    np.savez(path, codes=np.zeros((8, 1), np.int16), truth=np.array("[]"))
    with pytest.raises(CheckpointError, match=r"of version 1.*remove"):
        load_stems(path)


def _bank(folder: Path, count: int = 2) -> Path:
    folder.mkdir()
    for number in range(count):
        save_shard([_stem(1 + number), _stem(1)], folder / f"bank-7-{number:04d}.npz")
    return folder


def _assert_same(one: Path, two: Path) -> None:
    for mine, theirs in zip(load_stems(one), load_stems(two), strict=True):
        np.testing.assert_array_equal(mine.codes, theirs.codes)
        np.testing.assert_array_equal(mine.idle, theirs.idle)
        assert mine.turns == theirs.turns


def test_tokens_are_taken_up_where_they_stopped(tmp_path: Path, codec: Codec) -> None:
    bank, folder = _bank(tmp_path / "bank"), tmp_path / "tokens"
    paths = list(build_tokens(codec, bank, folder, 1))
    assert [path.name for path in paths] == ["tokens-1-7-0000.npz", "tokens-1-7-0001.npz"]
    assert sorted(folder.glob("*.npz")) == paths, "the codec beside them is no shard"
    assert [len(stem.turns) for stem in load_stems(paths[1])] == [1, 2]
    assert not list(build_tokens(codec, bank, folder, 1))
    kept = paths[1].rename(tmp_path / "kept.npz")
    assert list(build_tokens(codec, bank, folder, 1)) == paths[1:]
    _assert_same(kept, paths[1])


def test_on_another_line_a_caller_speaks_at_another_speed(tmp_path: Path, codec: Codec) -> None:
    bank, folder = _bank(tmp_path / "bank", 4), tmp_path / "tokens"
    own = [stem for path in build_tokens(codec, bank, folder, 1) for stem in load_stems(path)]
    paths = list(build_tokens(codec, bank, folder, 2, is_warped=True))
    others = [stem for path in paths for stem in load_stems(path)]
    assert [path.name for path in paths] == [f"tokens-2-7-{number:04d}.npz" for number in range(4)]
    speeds = [_spoken(one) / _spoken(other) for one, other in zip(own, others, strict=True)]
    assert all(0.7 < speed < 1.4 for speed in speeds) and max(speeds) > 1.05 * min(speeds)
    assert [[turn.request for turn in stem.turns] for stem in own] == [
        [turn.request for turn in stem.turns] for stem in others
    ]
    again = build_tokens(codec, bank, tmp_path / "again", 2, is_warped=True)
    for path, same in zip(paths, again, strict=True):
        _assert_same(path, same)


def _spoken(stem: TokenStem) -> int:
    """Frames from the first word's beginning to the last one's end, of all turns."""
    return sum(turn.last - turn.first for turn in stem.turns)


def test_a_worker_process_gives_the_same_tokens(tmp_path: Path, codec: Codec) -> None:
    bank = _bank(tmp_path / "bank")
    in_line = sorted(build_tokens(codec, bank, tmp_path / "in-line", 1))
    in_processes = sorted(build_tokens(codec, bank, tmp_path / "in-processes", 1, num_workers=1))
    assert [path.name for path in in_line] == [path.name for path in in_processes]
    for one, two in zip(in_line, in_processes, strict=True):
        _assert_same(one, two)


def test_tokens_of_another_codec_are_not_added_to(tmp_path: Path, codec: Codec) -> None:
    bank, folder = _bank(tmp_path / "bank", 1), tmp_path / "tokens"
    list(build_tokens(codec, bank, folder, 1))
    other = tiny.codec()
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    with pytest.raises(CheckpointError, match=r"another codec: remove it.*lm\.pt, voice\.pt"):
        list(build_tokens(other, bank, folder, 1))
    assert not list(build_tokens(codec, bank, folder, 1)), "what is there stays good"
