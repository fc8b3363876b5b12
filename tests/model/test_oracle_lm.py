"""Our language model and the reference package's, equal in weights, give equal logits and tokens."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import ZERO_TOKEN, SamplingConfig
from model.generate import UNGENERATED, Generator
from model.lm import Lm
from tests.model.oracle import lm_pair, reference_generator
from tests.model.tiny import LM_CONFIG, SHARED_LM_CONFIG, WIDE_LM_CONFIG, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

STEPS = 40  # more than three times the window of 12
Pair = tuple[Lm, Any]


@pytest.fixture(scope="module", params=["plain", "shared"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return lm_pair({"plain": LM_CONFIG, "shared": SHARED_LM_CONFIG}[request.param])


@pytest.fixture(scope="module")
def wide() -> Pair:
    return lm_pair(WIDE_LM_CONFIG)


def _caller(steps: int, rows: int, seed: int) -> Tensor:
    """Codes int64 [steps, rows, 8]."""
    return tokens(LM_CONFIG.card, steps, rows, LM_CONFIG.n_q - LM_CONFIG.dep_q, seed=seed)


def test_logits_of_a_whole_sequence(pair: Pair) -> None:
    ours, theirs = pair
    codes = tokens(LM_CONFIG.card, 2, LM_CONFIG.num_streams, 30)
    mine, wanted = ours(codes), theirs(codes)
    text_mask, audio_mask = wanted.text_mask[:, 0], wanted.mask
    assert torch.equal(mine.text_mask, text_mask)
    assert torch.equal(mine.audio_mask, audio_mask)
    torch.testing.assert_close(mine.text, wanted.text_logits[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(mine.audio[audio_mask], wanted.logits[audio_mask], atol=1e-4, rtol=0)


def test_logits_where_streams_hold_nothing(pair: Pair) -> None:
    ours, theirs = pair
    codes = tokens(LM_CONFIG.card, 1, LM_CONFIG.num_streams, 12, seed=1)
    codes[:, 9:, 4:8] = ZERO_TOKEN
    codes[:, 0, 5] = ZERO_TOKEN
    mine, wanted = ours(codes), theirs(codes)
    assert torch.equal(mine.text_mask, wanted.text_mask[:, 0])
    torch.testing.assert_close(
        mine.text[mine.text_mask], wanted.text_logits[:, 0][mine.text_mask], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(mine.audio[mine.audio_mask], wanted.logits[wanted.mask], atol=1e-4, rtol=0)


def test_greedy_generation_past_the_window(pair: Pair) -> None:
    ours, theirs = pair
    mine = Generator(ours, 2, SamplingConfig(), greedy=True)
    active = torch.ones(2, dtype=torch.bool)
    texts: list[Tensor] = []
    spoken: list[int] = []
    with reference_generator(theirs, 2) as reference:
        for caller in _caller(STEPS, 2, seed=2):
            step = mine.step(caller, active)
            wanted = reference.step(caller[:, :, None])  # [B, 9, 1]: the text lags ours by one step
            texts.append(step.text)
            if len(texts) == 1:
                assert (step.frame == UNGENERATED).all()
                assert (wanted == UNGENERATED).all()
                continue
            assert torch.equal(step.frame, wanted[:, 1:, 0])
            assert torch.equal(texts[-2], wanted[:, 0, 0])
            spoken += step.frame.flatten().tolist()
    assert len(set(spoken)) > LM_CONFIG.card // 2, "a model that says one thing proves little"


def test_random_masks_and_resets_against_single_rows(pair: Pair) -> None:
    """Each of our rows, run when it likes, equals a reference that ran it alone."""
    ours, theirs = pair
    rows, steps = 2, 40
    draw = torch.Generator().manual_seed(5)
    runs = torch.rand(steps, rows, generator=draw) < 0.85
    resets = torch.rand(steps, rows, generator=draw) < 0.05
    resets[:, 0] = False  # one row lives long enough to wrap
    assert resets.any()
    assert runs[:, 0].sum() > 2 * LM_CONFIG.context
    caller = _caller(steps, rows, seed=3)
    mine = Generator(ours, rows, SamplingConfig(), greedy=True)
    got: list[list[Tensor]] = [[] for _ in range(rows)]
    for step in range(steps):
        mine.reset(resets[step])
        frame = mine.step(caller[step], runs[step]).frame
        assert (frame[~runs[step]] == UNGENERATED).all()
        for row in runs[step].nonzero().flatten().tolist():
            got[row].append(frame[row])
    for row in range(rows):
        expected = iter(got[row])
        with reference_generator(theirs, 1) as reference:
            for step in range(steps):
                if resets[step, row]:
                    reference.reset_streaming()
                if runs[step, row]:
                    wanted = reference.step(caller[step, row][None, :, None])
                    assert torch.equal(wanted[0, 1:, 0], next(expected)), (row, step)


def test_both_key_layouts_load(pair: Pair) -> None:
    ours, theirs = pair
    layer, last = "depformer.layers.0.self_attn.", ours.config.num_weight_sets - 1
    assert {layer + f"in_projs.{last}.weight", layer + "out_projs.0.weight"} <= set(theirs.state_dict())
    assert {layer + "in_proj_weight", layer + "out_proj.weight"} <= set(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())  # the reference reads what we save


def test_shared_depth_weights_and_narrow_tables_are_what_the_file_holds() -> None:
    shared = set(lm_pair(SHARED_LM_CONFIG)[0].state_dict())
    assert {"depformer_in.3.weight", "depformer.layers.1.gating.3.linear_in.weight"} <= shared
    assert not {"depformer_in.4.weight", "depformer.layers.1.gating.4.linear_in.weight"} & shared
    assert {
        "depformer_text_emb.low_rank.weight",
        "depformer_emb.6.low_rank.weight",
        "linears.7.weight",
    } <= shared


def test_logits_of_a_depth_model_that_predicts_the_caller_as_well(wide: Pair) -> None:
    ours, theirs = wide
    codes = tokens(LM_CONFIG.card, 2, LM_CONFIG.num_streams, 20, seed=6)
    mine, wanted = ours(codes), theirs(codes)
    assert mine.audio.shape[1] == 16
    assert torch.equal(mine.audio_mask, wanted.mask)
    torch.testing.assert_close(mine.text, wanted.text_logits[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(mine.audio[wanted.mask], wanted.logits[wanted.mask], atol=1e-4, rtol=0)


def test_the_agents_depth_steps_need_none_of_the_callers(wide: Pair) -> None:
    """Streams 1..8 are the agent's: their eight steps alone give the logits of the sixteen."""
    ours, theirs = wide
    config = ours.config
    assert (config.agent_q, config.caller_q, config.dep_q) == (8, 8, 16)
    codes = tokens(LM_CONFIG.card, 1, LM_CONFIG.num_streams, 6, seed=7)
    columns = ours.columns(codes)
    hidden, wanted = ours.temporal(columns[:, :, :-1])[0], theirs(codes)
    past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in ours.depformer.layers]
    for step in range(config.agent_q):
        logits = ours.depth_step(step, hidden, columns[0, step, 1:], past)
        delay = config.delays[1 + step]
        torch.testing.assert_close(
            logits[delay:], wanted.logits[0, step, : len(logits) - delay], atol=1e-4, rtol=0
        )
