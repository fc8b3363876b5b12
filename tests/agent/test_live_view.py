"""What a watcher sees of a call, however late it comes."""

import numpy as np
import pytest

from agent.live_view import FLOOR_DBFS, KEPT_LEVELS, KEPT_WORDS, LiveView
from agent.transcript import Speaker, TimedWord
from telephony.endpoint import FRAME_SAMPLES, HeardFrame


def frame(caller: float, agent: float) -> HeardFrame:
    """One frame of square waves of these amplitudes."""
    return HeardFrame(
        np.full(FRAME_SAMPLES, caller, np.float32), np.full(FRAME_SAMPLES, agent, np.float32), 4, 0.0
    )


def word(number: int) -> TimedWord:
    return TimedWord(Speaker.AGENT, f"w{number}", number, number + 0.5)


def test_levels_are_dbfs_of_both_sides_in_order() -> None:
    view = LiveView()
    for caller, agent in ((1.0, 0.0), (0.1, 0.01)):
        view.note_frame(frame(caller, agent))
    look = view.since()
    assert (look.caller_dbfs, look.agent_dbfs) == ([0, -20], [FLOOR_DBFS, -40])
    assert (look.num_frames, look.num_words, look.words) == (2, 0, [])


@pytest.mark.parametrize("seen", [0, 3, 5])
def test_a_watcher_gets_what_it_has_not_seen(seen: int) -> None:
    view = LiveView()
    for number in range(5):
        view.note_word(word(number))
        view.note_frame(frame(10 ** (-number), 0.5))
    look = view.since(seen, seen)
    assert [one.text for one in look.words] == [f"w{number}" for number in range(seen, 5)]
    assert look.caller_dbfs == [max(FLOOR_DBFS, -20 * number) for number in range(seen, 5)]


def test_memory_is_bounded_and_the_numbers_go_on() -> None:
    view = LiveView()
    for number in range(1000):
        view.note_word(word(number))
        view.note_frame(frame(0.5, 0.5))
    look = view.since(2, 2)
    assert (len(look.caller_dbfs), len(look.words)) == (KEPT_LEVELS, KEPT_WORDS)
    assert (look.num_frames, look.words[-1].text) == (1000, "w999")
    assert view.since(look.num_frames, look.num_words).words == []


def test_a_share_of_the_past_is_its_end() -> None:
    view = LiveView()
    for number in range(1000):
        view.note_word(word(number))
        view.note_frame(frame(0.5, 0.5))
    look = view.latest(0.1)
    assert [one.text for one in look.words] == [f"w{number}" for number in range(994, 1000)]
    assert len(look.agent_dbfs) == 16 and view.latest(1) == view.since()
