"""An engine by name; a cascade in this process takes the call's time, not the wall clock's."""

import numpy as np
import pytest

from agent.cascade.engine import Cascade
from agent.errors import AgentError
from agent.evaluation.virtual_engine import build_engine, with_engine
from agent.settings import WorkerSettings
from agent.standin import StandIn
from agent.wire import FRAME_SAMPLES


def test_an_engine_is_chosen_by_name() -> None:
    assert with_engine(WorkerSettings(slots=3), "cascade") == WorkerSettings(slots=3, engine="cascade")
    assert with_engine(WorkerSettings(), None) == WorkerSettings()
    with pytest.raises(AgentError, match="--engine nothing"):
        with_engine(WorkerSettings(), "nothing")
    assert isinstance(build_engine(WorkerSettings(engine="standin"), 2), StandIn)


def test_a_cascade_greets_on_the_calls_clock() -> None:
    engine = build_engine(WorkerSettings(engine="cascade"), 1)
    assert isinstance(engine, Cascade) and engine.num_slots == 1
    engine.start(0, seed=1)
    silence, active = np.zeros((1, FRAME_SAMPLES), np.float32), np.ones(1, np.bool_)
    levels = [float(np.abs(engine.step(silence, active).pcm).max()) for _ in range(25)]
    assert max(levels) > 0.1, "within two seconds of the call, in however few of the wall's"
