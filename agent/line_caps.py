"""How many calls each line and each trunk has, against how many it may have. Event loop only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class LineCaps:
    """Counts live calls by any key; what is counted is given back whatever happens."""

    def __init__(self) -> None:
        self._live: Counter[str] = Counter()

    def num_live(self, key: str) -> int:
        """Calls that are counted under this key now."""
        return self._live[key]

    @contextmanager
    def taken(self, caps: Mapping[str, int | None]) -> Iterator[bool]:
        """Count one call under every key while inside; False, and not counted, if one of them is full."""
        is_free = all(most is None or self._live[key] < most for key, most in caps.items())
        if is_free:
            self._live.update(caps.keys())
        try:
            yield is_free
        finally:
            if is_free:
                self._live.subtract(caps.keys())
                self._live += Counter()  # forgets keys without calls
