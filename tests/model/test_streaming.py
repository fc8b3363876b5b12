"""State: rows are masked, reset and copied one by one."""

import torch

from model.streaming import State
from tests.model.tiny import mask


def _tree() -> State:
    state = State.root(3)
    state.add("sound", (2,))
    state.child("inner").add("count", (), torch.int64)
    return state


def test_all_rows_execute_and_remember_nothing_at_first() -> None:
    state = _tree()
    assert state.exec_mask.tolist() == [True] * 3
    assert all(not tensor.any() for tensor in state.walk())
    assert [tuple(tensor.shape) for tensor in state.walk()] == [(3, 2), (3,)]


def test_put_reaches_the_executing_rows_of_the_whole_tree() -> None:
    state = _tree()
    state.set_exec_mask(mask(1, 0, 1))
    state.put("sound", torch.ones(3, 2))
    state.child("inner").put("count", torch.tensor([5, 6, 7]))
    assert state["sound"].tolist() == [[1, 1], [0, 0], [1, 1]]
    assert state.child("inner")["count"].tolist() == [5, 0, 7]


def test_put_keeps_the_type_of_the_tensor() -> None:
    state = _tree()
    state.put("sound", torch.ones(3, 2, dtype=torch.float64))
    assert state["sound"].dtype == torch.float32


def test_reset_forgets_only_the_given_rows_and_leaves_the_mask() -> None:
    state = _tree()
    state.put("sound", torch.ones(3, 2))
    state.child("inner").put("count", torch.tensor([5, 6, 7]))
    state.set_exec_mask(mask(0, 1, 1))
    state.reset(mask(1, 0, 0))
    assert state["sound"].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert state.child("inner")["count"].tolist() == [0, 6, 7]
    assert state.exec_mask.tolist() == [False, True, True]


def test_rows_are_copies() -> None:
    state = _tree()
    row = state.rows(1)
    state["sound"][1] = 9
    assert row[0].tolist() == [0, 0]
