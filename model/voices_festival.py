"""festival as one persistent child process: speech with exact phone and word times.

One request at a time, over its standard input and output; call from one thread at a time. The child ends with
us.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from model.voices_phones import (
    ARPABET,
    Speech,
    SpeechSynthesisError,
    TimedPhone,
    TimedWord,
    from_int16,
    plain_word,
    split_evenly,
    to_inventory,
)

SPEAKERS = ("kal", "ked")
_RATE_HZ = 16_000
_NORMAL_F0_HZ = 105.0
_DONE = "offhook-done"
_PROGRAM = """
(define (offhook_segment s) (format t "S %s %f\\n" (item.name s) (item.feat s "end")))
(define (offhook_word w)
  (format t "W %s %f %f\\n"
    (item.feat w "R:Token.parent.id") (item.feat w "word_start") (item.feat w "word_end")))
(define (offhook_speak text stretch f0 path)
  (Parameter.set 'Duration_Stretch stretch)
  (set! int_lr_params
    (list (list 'target_f0_mean f0) (list 'target_f0_std (* f0 0.14))
      '(model_f0_mean 170) '(model_f0_std 34)))
  (set! offhook_utt (utt.synth (eval (list 'Utterance 'Text text))))
  (mapcar offhook_segment (utt.relation.items offhook_utt 'Segment))
  (mapcar offhook_word (utt.relation.items offhook_utt 'Word))
  (utt.save.wave offhook_utt path 'raw))
"""


class _Festival:
    """The child process with our program loaded."""

    def __init__(self) -> None:
        self.owner_pid = os.getpid()
        try:
            self._child = subprocess.Popen(
                ["festival", "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except OSError as error:
            raise SpeechSynthesisError(
                f"festival did not start: {error}; install the package festival"
            ) from None
        atexit.register(self.close)
        self._ask(_PROGRAM)

    def _ask(self, scheme: str) -> list[str]:
        """The lines that festival prints while it evaluates `scheme`."""
        assert self._child.stdin and self._child.stdout
        try:
            self._child.stdin.write(f'{scheme}\n(format t "{_DONE}\\n")\n(fflush nil)\n')
            self._child.stdin.flush()
        except BrokenPipeError:
            raise SpeechSynthesisError("festival has ended; are its voices installed?") from None
        lines: list[str] = []
        for line in self._child.stdout:
            if line.strip() == _DONE:
                return lines
            lines.append(line.strip())
        raise SpeechSynthesisError(f"festival ended: {' '.join(lines[-3:])}")

    def speak(self, text: str, speaker: str, rate: float, pitch: float) -> tuple[list[str], bytes]:
        """The printed segments and words, and 16-bit sound."""
        quoted = text.replace("\\", " ").replace('"', " ")
        with tempfile.TemporaryDirectory(prefix="offhook-voice-") as folder:
            path = Path(folder) / "sound.raw"
            request = f'(offhook_speak "{quoted}" {1 / rate:.4f} {_NORMAL_F0_HZ * pitch:.2f} "{path}")'
            lines = self._ask(f"(voice_{speaker}_diphone)\n{request}")
            if not path.exists():
                raise SpeechSynthesisError(
                    f"festival {speaker} said nothing for {text!r}: {' '.join(lines[-3:])}"
                )
            return lines, path.read_bytes()

    def close(self) -> None:
        """End the child; its pipes are closed with it. Inherited by a fork, it is left to the parent."""
        if os.getpid() == self.owner_pid and self._child.stdin and self._child.stdout:
            self._child.stdin.close()
            self._child.stdout.close()
            self._child.wait(5)


@cache
def _festival(pid: int) -> _Festival:
    """One child for each process that speaks: a fork must not share its parent's pipes."""
    return _Festival()


def close() -> None:
    """End the child process if one runs; the next `speak` starts another."""
    if _festival.cache_info().currsize:
        _festival(os.getpid()).close()
        _festival.cache_clear()


def speak(text: str, speaker: str, rate: float, pitch: float) -> Speech:
    """Say `text` (ASCII) with "kal" or "ked"."""
    if speaker not in SPEAKERS:  # festival itself would speak on in the voice before
        raise SpeechSynthesisError(f"no festival voice {speaker!r}; choose from {', '.join(SPEAKERS)}")
    lines, sound = _festival(os.getpid()).speak(text, speaker, rate, pitch)
    rows = [line.split() for line in lines if line[:2] in ("S ", "W ")]
    phones: list[TimedPhone] = []
    start_s = 0.0
    for _, symbol, end in (row for row in rows if row[0] == "S"):
        phones += split_evenly(to_inventory(symbol, ARPABET, "festival"), start_s, float(end))
        start_s = float(end)
    pcm = from_int16(sound)
    return Speech(pcm, _RATE_HZ, _words(text, [row for row in rows if row[0] == "W"]), phones)


def _words(text: str, rows: list[list[str]]) -> list[TimedWord]:
    """Join festival's words by the token that they came from."""
    spans: dict[str, tuple[float, float]] = {}
    for _, token, start, end in rows:
        if float(end) > float(start):  # a clitic ('s) carries no times: its phones belong to the word before
            spans[token] = (spans.get(token, (float(start), 0.0))[0], float(end))
    tokens = [word for part in text.split(" ") if (word := plain_word(part))]
    if len(spans) != len(tokens):
        raise SpeechSynthesisError(f"festival spoke {len(spans)} of the {len(tokens)} words in {text!r}")
    return [TimedWord(word, *span) for word, span in zip(tokens, spans.values(), strict=True)]
