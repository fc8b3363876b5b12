"""A call's past as what happened in it: the frames in which a word was said or heard, and how far apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def events(
    said: Sequence[int], heard: Sequence[int], padding: Collection[int]
) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """Frames of nothing but `padding` (or tokens below 0), and the tokens of text and transcript that come
    after them; None at the end. `said` and `heard` have one token for each frame."""
    quiet_frames = 0
    for pair in zip(said, heard, strict=True):
        if all(token in padding or token < 0 for token in pair):
            quiet_frames += 1
        else:
            yield quiet_frames, pair
            quiet_frames = 0
    yield quiet_frames, None
