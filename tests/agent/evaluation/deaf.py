"""A judge that understands nothing, at once: for trials that are judged by their times alone."""

from agent.energy_gate import Pcm
from agent.evaluation.judge import Judge, Verdict


class Deaf(Judge):
    """Loads no recogniser."""

    def __init__(self) -> None: ...

    def hear(self, pcm: Pcm) -> Verdict:
        """Nothing."""
        return Verdict("")


DEAF = Deaf()
