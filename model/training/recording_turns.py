"""One recording becomes a caller's turn, cut to its words: how depends on what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.channel import resample
from model.config import SAMPLE_RATE_HZ
from model.order_line import Intent, Order, Request
from model.training.alignment import Aligner, NotAligned
from model.training.bank import Turn
from model.training.order_transcripts import OrderTranscriber
from model.training.pseudo_labels import OpenTranscriber, label
from model.training.recording_folder import Layout, Recording
from model.voices_phones import TimedPhone, TimedWord

LONGEST_S = 30.0
MARGIN_S = 0.3  # kept before the first word and after the last
# Of 60 real orders -4 to -11 with their own label; with another's half find no way through, a twentieth -17.
WORST_FIT_ORDER = -16.0
WORST_FIT_DIGIT = -30.0  # a digit alone, at 8 kHz, whose word the file's name tells
NOISE_PIECE_S = 20.0
_PEAK = 0.5  # as the synthetic callers'


def load_sound(path: Path) -> NDArray[np.float32]:
    """A sound file as float32 [T] at 24 kHz, mono, peak 0.5. Raises NotAligned if it is of no use."""
    import soundfile  # here, because a machine that trains on shards from elsewhere needs none

    try:
        if soundfile.info(path).duration > LONGEST_S:
            raise NotAligned(f"longer than {LONGEST_S:.0f} s")
        pcm, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        raise NotAligned("not a sound file that libsndfile reads") from None
    return _at_peak(pcm, rate_hz)


def _at_peak(pcm: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    if not np.isfinite(pcm).all() or not pcm.any():
        raise NotAligned("no sound in it")
    pcm = resample(pcm.mean(axis=1), rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(pcm * (_PEAK / max(float(np.abs(pcm).max(initial=0.0)), 1e-6)), np.float32)


def load_noise(path: Path) -> list[NDArray[np.float32]]:
    """A sound file of any length in pieces, float32 [T] at 24 kHz each. Raises NotAligned."""
    import soundfile

    try:
        rate_hz = soundfile.info(path).samplerate
        blocks = soundfile.blocks(path, round(NOISE_PIECE_S * rate_hz), dtype="float32", always_2d=True)
        pieces = [block for block in blocks if len(block) > rate_hz // 2 and block.any()]
    except soundfile.SoundFileError:
        raise NotAligned("not a sound file that libsndfile reads") from None
    if not pieces:
        raise NotAligned("no sound in it")
    return [_at_peak(piece, rate_hz) for piece in pieces]


def cut_turn(
    request: Request, pcm: NDArray[np.float32], words: list[TimedWord], phones: list[TimedPhone]
) -> Turn:
    """A turn that begins and ends a margin beside its words."""
    first = max(0, round((words[0].start_s - MARGIN_S) * SAMPLE_RATE_HZ))
    last = min(len(pcm), round((words[-1].end_s + MARGIN_S) * SAMPLE_RATE_HZ))
    at_s, end_s = first / SAMPLE_RATE_HZ, (last - first) / SAMPLE_RATE_HZ
    spans = [(p.phone, max(0.0, p.start_s - at_s), min(end_s, p.end_s - at_s)) for p in phones]
    return Turn(
        request,
        pcm[first:last],
        [TimedWord(w.text, w.start_s - at_s, w.end_s - at_s) for w in words],
        [TimedPhone(*span) for span in spans if span[2] > span[1]],
    )


class TurnMaker:
    """The recognisers that a shard needs, each made when it is first wanted."""

    def make(self, recording: Recording, layout: Layout) -> list[Turn]:
        """A recording's turns: one, or each piece of a noise. Raises NotAligned."""
        makers: dict[Layout, Callable[[Recording], list[Turn]]] = {
            "sentences": self._sentence,
            "orders": self._order,
            "digits": self._digit,
            "speech": self._speech,
            "words": self._word,
            "noise": self._noise,
        }
        return makers[layout](recording)

    @cached_property
    def _aligner(self) -> Aligner:
        return Aligner()

    @cached_property
    def _order_aligner(self) -> Aligner:
        return Aligner(WORST_FIT_ORDER)

    @cached_property
    def _digit_aligner(self) -> Aligner:
        return Aligner(WORST_FIT_DIGIT)

    @cached_property
    def _orders(self) -> OrderTranscriber:
        return OrderTranscriber()

    @cached_property
    def _open(self) -> OpenTranscriber:
        return OpenTranscriber()

    def _sentence(self, recording: Recording) -> list[Turn]:
        pcm = load_sound(recording.path)
        request = Request(Intent.OTHER, recording.text)
        return [cut_turn(request, pcm, *self._aligner.align(pcm, recording.text))]

    def _order(self, recording: Recording) -> list[Turn]:
        pcm = load_sound(recording.path)
        slots = dict(recording.slots)
        text = self._orders.transcribe(pcm, slots)
        request = Request(Intent.ORDER, text, Order.from_labels(slots))
        return [cut_turn(request, pcm, *self._order_aligner.align(pcm, text))]

    def _digit(self, recording: Recording) -> list[Turn]:
        pcm = load_sound(recording.path)
        request = Request(Intent.OTHER, recording.text)
        return [cut_turn(request, pcm, *self._digit_aligner.align(pcm, recording.text))]

    def _speech(self, recording: Recording) -> list[Turn]:
        pcm = load_sound(recording.path)
        words, phones = label(pcm, self._open.hear(pcm), self._aligner)
        text = " ".join(word.text for word in words)
        return [cut_turn(Request(Intent.OTHER, text), pcm, words, phones)]

    def _word(self, recording: Recording) -> list[Turn]:
        """Aligned if the word is known and fits; it is speech of another mouth all the same."""
        if recording.text:
            try:
                return self._sentence(recording)
            except NotAligned:
                pass
        return [Turn(None, load_sound(recording.path), [], [])]

    def _noise(self, recording: Recording) -> list[Turn]:
        return [Turn(None, piece, [], []) for piece in load_noise(recording.path)]
