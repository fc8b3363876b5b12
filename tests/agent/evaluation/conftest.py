"""What several of these tests need and takes a second to load."""

import pytest

from agent.evaluation.judge import Judge


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The judge with its whole grammar."""
    return Judge()
