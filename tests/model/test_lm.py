"""The language model over columns: delays, empty tokens, streaming."""

from dataclasses import replace

import pytest
import torch

from model.config import ZERO_TOKEN
from model.lm import Lm, TokenEmbedding
from tests.model import tiny
from tests.model.tiny import LM_CONFIG, pieces, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def lm() -> Lm:
    return tiny.lm()


def test_the_empty_token_adds_nothing_and_the_initial_one_has_a_row() -> None:
    table = TokenEmbedding(4, 3)
    assert table.weight.shape == (5, 3)
    assert not table(torch.tensor([ZERO_TOKEN])).any()
    assert torch.equal(table(torch.tensor([4]))[0], table.weight[4])


def test_columns_are_delayed_and_begin_with_initial_tokens(lm: Lm) -> None:
    codes = tokens(32, 1, 17, 5)
    columns = lm.columns(codes)
    assert columns.shape == (1, 17, 6)
    assert columns[0, :, 0].tolist() == [48] + [32] * 16
    assert torch.equal(columns[0, 0, 1:], codes[0, 0])
    assert columns[0, 2, :2].tolist() == [32, 32]
    assert torch.equal(columns[0, 2, 2:], codes[0, 2, :-1])


def test_predictions_do_not_see_what_they_predict(lm: Lm) -> None:
    codes = tokens(32, 1, 17, 8)
    later = codes.clone()
    later[:, :, 5:] = (later[:, :, 5:] + 1) % 32
    before, after = lm(codes), lm(later)
    torch.testing.assert_close(after.text[:, :6], before.text[:, :6], atol=1e-5, rtol=0)
    # Code 0 of frame 5 follows the text of frame 5, which changed.
    torch.testing.assert_close(after.audio[:, 0, :5], before.audio[:, 0, :5], atol=1e-5, rtol=0)
    assert not torch.allclose(after.audio[:, 0, 5], before.audio[:, 0, 5])
    assert not torch.allclose(after.text[:, 6:], before.text[:, 6:])


def test_masks_name_what_has_no_target(lm: Lm) -> None:
    codes = tokens(32, 1, 17, 6)
    codes[0, 0, 2] = codes[0, 3, 1] = ZERO_TOKEN
    logits = lm(codes)
    assert logits.text_mask[0].tolist() == [True, True, False, True, True, True]
    assert logits.audio_mask[0, 0].all()
    assert logits.audio_mask[0, 2].tolist() == [True, False, True, True, True, False]
    assert logits.text.shape == (1, 6, 48)
    assert logits.audio.shape == (1, 8, 6, 32)


def test_temporal_steps_equal_the_whole_past_the_window(lm: Lm) -> None:
    columns = lm.columns(tokens(32, 2, 17, 29))
    state = lm.init_state(2)
    steps = [lm.temporal(column, state) for column in pieces(columns, 1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), lm.temporal(columns), atol=1e-4, rtol=0)


def test_depth_steps_equal_teacher_forcing(lm: Lm) -> None:
    hidden, text, audio = tiny.noise(3, 64), tokens(48, 3), tokens(32, 3, 8)
    past: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in lm.depformer.layers]
    before = [text, *audio.unbind(1)]
    steps = [lm.depth_step(k, hidden, before[k], past) for k in range(8)]
    torch.testing.assert_close(torch.stack(steps, dim=1), lm.depth(hidden, text, audio), atol=1e-5, rtol=0)


def test_extra_heads_are_made_as_configured() -> None:
    lm = Lm(replace(LM_CONFIG, extra_heads_num_heads=2, extra_heads_dim=5))
    assert [tuple(head.weight.shape) for head in lm.extra_heads] == [(5, 64), (5, 64)]  # type: ignore[arg-type]
