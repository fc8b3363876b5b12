"""The bank of callers: pauses keep words where their sound is, shards give back what they were given."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from model.errors import CheckpointError
from model.order_line import Change, Intent, Order, Request, Tone
from model.training import bank
from model.training.bank import Stem, Turn, build_bank, insert_pause, load_shard, phone_labels, save_shard
from model.training.pool import Pool, draw_pool
from model.voices import (
    PHONE_IDS,
    SILENCE,
    TRAIN_VOICES,
    SpeechSynthesisError,
    Style,
    TimedPhone,
    TimedWord,
    Utterance,
    Voice,
)

RATE = 24_000
POOL = draw_pool(num_orders=20, num_numbers=4)
CALM_THEN_ANGRY = 8  # a seed of such a caller
WORDS = [TimedWord("a", 0.1, 0.2), TimedWord("large", 0.2, 0.5), TimedWord("latte", 0.5, 0.9)]
PHONES = [
    TimedPhone("ah", 0.1, 0.2),
    TimedPhone("l", 0.2, 0.35),
    TimedPhone("aa", 0.35, 0.52),  # lies across the end of "large", mostly before it
    TimedPhone("t", 0.52, 0.9),
]


def _speech() -> Utterance:
    """A second of sound; each word has its own level, so that it can be found again."""
    pcm = np.zeros(RATE, np.float32)
    for level, word in zip((0.1, 0.2, 0.4), WORDS, strict=True):
        pcm[round(word.start_s * RATE) : round(word.end_s * RATE)] = level
    return Utterance(pcm, list(WORDS), list(PHONES))


def _level(speech: Utterance, start_s: float, end_s: float) -> float:
    return float(np.median(speech.pcm[round(start_s * RATE) : round(end_s * RATE)]))


@pytest.mark.parametrize("after", [1, 2])
def test_words_stay_where_their_sound_is(after: int) -> None:
    paused = insert_pause(_speech(), after, 0.4)
    assert len(paused.pcm) == RATE + round(0.4 * RATE)
    assert [word.text for word in paused.words] == ["a", "large", "latte"]
    for level, word in zip((0.1, 0.2, 0.4), paused.words, strict=True):
        assert _level(paused, word.start_s, word.end_s) == pytest.approx(level)
        assert _level(paused, word.start_s + 0.006, word.start_s + 0.01) == pytest.approx(level)
    gap = paused.words[after - 1].end_s, paused.words[after].start_s
    assert gap[1] - gap[0] == pytest.approx(0.4, abs=1e-4)
    assert not paused.pcm[round(gap[0] * RATE) : round(gap[1] * RATE)].any()


def test_phones_follow_and_the_pause_is_silence() -> None:
    paused = insert_pause(_speech(), 2, 0.4)
    assert [phone.phone for phone in paused.phones] == ["ah", "l", "aa", SILENCE, "t"]
    for before, after in zip(paused.phones, paused.phones[1:], strict=False):
        assert after.start_s == pytest.approx(before.end_s), "phones leave no hole"
    across, pause, last = paused.phones[2:]
    assert across.end_s == pytest.approx(0.5)
    assert (pause.end_s, last.start_s) == pytest.approx((0.92, 0.92))
    assert last.end_s == pytest.approx(1.3)


def test_a_pause_neither_clicks_nor_touches_what_lies_apart() -> None:
    paused = insert_pause(_speech(), 2, 0.4)
    edge = round(0.5 * RATE)
    assert np.abs(np.diff(paused.pcm[edge - 200 : edge + 10])).max() < 0.01
    np.testing.assert_array_equal(paused.pcm[: edge - 120], _speech().pcm[: edge - 120])
    np.testing.assert_array_equal(paused.pcm[edge + 9600 + 120 :], _speech().pcm[edge + 120 :])


def test_a_next_word_that_began_early_begins_after_the_pause() -> None:
    overlapping = Utterance(_speech().pcm, [WORDS[0], WORDS[1], TimedWord("latte", 0.48, 0.9)], PHONES)
    paused = insert_pause(overlapping, 2, 0.4)
    assert paused.words[2].start_s == pytest.approx(0.9)


def test_labels_name_the_phone_at_each_time() -> None:
    times = np.array([0.05, 0.1, 0.3, 0.4, 0.6, 0.95])
    names = [SILENCE, "ah", "l", "aa", "t", SILENCE]
    assert phone_labels(PHONES, times).tolist() == [PHONE_IDS[name] for name in names]


def _stem(name: str) -> Stem:
    order = Order("latte", "large")
    speech = _speech()
    first = Turn(Request(Intent.ORDER, "a large latte", order), speech.pcm, speech.words, speech.phones)
    change = Request(Intent.CHANGE, "no milk", change=Change(without=("milk",)), tone=Tone.ANGRY)
    second = Turn(change, speech.pcm[:2400], speech.words[:1], speech.phones[:1], ((0.1, 0.4),))
    cough = Turn(None, speech.pcm[:1200], [], [])
    return Stem(name, [first, second, cough])


def test_shards_of_another_order_line_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank-1-0000.npz"
    for truth, version in ([], "1"), ({"version": 99, "stems": []}, "99"):
        np.savez(path, pcm=np.zeros(1, np.int16), truth=np.array(json.dumps(truth)))
        with pytest.raises(CheckpointError, match=rf"of version {version}.*remove .* and run the stage"):
            load_shard(path)


def test_a_shard_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "bank-1-0000.npz"
    stems = [_stem("one"), _stem("two")]
    save_shard(stems, path)
    loaded = load_shard(path)
    assert list(tmp_path.iterdir()) == [path]
    assert [stem.voice for stem in loaded] == ["one", "two"]
    for was, now in zip(stems, loaded, strict=True):
        for before, after in zip(was.turns, now.turns, strict=True):
            assert (after.request, after.pauses) == (before.request, before.pauses)
            assert after.words == before.words
            assert after.phones == before.phones
            np.testing.assert_allclose(after.pcm, before.pcm, atol=2e-5)


def test_the_bank_is_taken_up_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make(seed: int, pool: Pool) -> Stem:
        assert pool is POOL
        made.append(seed)
        if seed == 101:
            raise SpeechSynthesisError("no such word")
        return _stem(str(seed))

    monkeypatch.setattr(bank, "STEMS_PER_SHARD", 2)
    monkeypatch.setattr(bank, "make_stem", make)
    paths = list(build_bank(tmp_path, 2, 100, pool=POOL))
    assert made == [100, 101, 102, 103]
    assert [stem.voice for stem in load_shard(paths[0])] == ["100"], "a voice that refuses is left out"
    paths[1].unlink()
    assert list(build_bank(tmp_path, 2, 100, pool=POOL)) == paths[1:]
    assert made[4:] == [102, 103]


def test_some_speakers_have_a_vocal_tract_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "speak_request", lambda request, voice, rng, manner: _silent(request, voice))
    known = {voice.name for voice in TRAIN_VOICES}
    voices = [bank.make_stem(seed, POOL).voice for seed in range(200)]
    own = [voice for voice in voices if voice not in known]
    assert len(own) / len(voices) == pytest.approx(bank.OWN_TRACT_SHARE, abs=0.12)
    assert len(set(own)) == len(own), "no two alike"
    assert all("*" in voice for voice in own)


def _silent(request: Request, voice: Voice) -> Turn:
    return Turn(request, np.zeros(1, np.float32), [], [])


def test_a_stem_is_one_speaker_with_every_intent_and_some_in_a_second_tone() -> None:
    pool = draw_pool(num_orders=200, num_numbers=20)
    stem = bank.make_stem(CALM_THEN_ANGRY, pool)
    requests = [turn.request for turn in stem.turns if turn.request]
    calm, angry = (
        [request.intent for request in requests if request.tone is tone] for tone in (Tone.CALM, Tone.ANGRY)
    )
    assert calm.count(Intent.ORDER) == 5 and set(bank.STEM_INTENTS) <= set(calm)
    assert sorted(angry, key=str) == sorted(bank.SECOND_INTENTS, key=str)
    assert len(calm) + len(angry) == len(requests)
    pauses = [(turn, pause) for turn in stem.turns for pause in turn.pauses]
    assert len(pauses) > 4
    for turn, (from_s, to_s) in pauses:
        assert not turn.pcm[round(from_s * RATE) + 2 : round(to_s * RATE) - 2].any()
    for turn in stem.turns:
        assert turn.pcm.dtype == np.float32
        assert np.abs(turn.pcm).max() > 0.1
        assert turn.words[-1].end_s <= len(turn.pcm) / RATE + 0.05


def test_every_tone_but_calm_has_its_style_in_every_voice() -> None:
    plain, styled = (bank.Manner(1.0, 1.0, one, np.random.default_rng(0)) for one in (False, True))
    assert [plain.style(tone) for tone in Tone] == [None, Style.HURRIED, Style.ANGRY, Style.WHISPER]
    assert styled.style(Tone.CALM) is Style.CALM


def test_a_tenth_of_what_is_said_is_digits_and_each_change_fits_an_order() -> None:
    rng = random.Random(5)
    pool = draw_pool(num_orders=200, num_numbers=20)
    num_words = num_digits = 0
    for tone in Tone:
        for _ in range(20):
            requests = bank.draw_requests(rng, pool, tone)
            assert {request.tone for request in requests} == {tone}
            orders = [request.order for request in requests if request.order]
            wishes = [wish for wish in pool.wishes[tone] if wish.order in orders]
            for request in requests:
                num_words += len(request.text.split())
                num_digits += 7 * (request.number is not None)
                assert request.change is None or request.change in [wish.change for wish in wishes]
                assert request.number is None or request.number in pool.numbers[tone]
    assert num_digits / num_words > 0.1
