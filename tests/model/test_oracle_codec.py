"""Our codec and the reference package's, equal in weights, are equal in everything they give."""

from typing import Any

import pytest
import torch

from model.codec import Codec
from tests.model import tiny
from tests.model.oracle import codec_pair
from tests.model.tiny import FRAME, mask, noise, pieces

pytestmark = pytest.mark.usefixtures("no_gradients")

FRAMES = 12  # 24 steps at 25 Hz: the window of 14 wraps
Pair = tuple[Codec, Any]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return codec_pair()


def test_whole_sequence(pair: Pair) -> None:
    ours, theirs = pair
    pcm = noise(2, 1, FRAMES * FRAME)
    codes = theirs.encode(pcm)
    assert torch.equal(ours.encode(pcm), codes)
    assert codes.unique().numel() > tiny.CODEC_CONFIG.quantizer.bins // 2, "a weak input proves little"
    torch.testing.assert_close(
        ours.latent(pcm), theirs.encode_to_latent(pcm, quantize=False), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(ours.decode(codes), theirs.decode(codes), atol=1e-4, rtol=0)


def test_frame_by_frame_past_the_window(pair: Pair) -> None:
    ours, theirs = pair
    pcm = noise(2, 1, FRAMES * FRAME, seed=1)
    hearing, speaking = ours.encoder_state(2), ours.decoder_state(2)
    with theirs.streaming(2):
        for frame in pieces(pcm, FRAME):
            codes = theirs.encode(frame)
            assert torch.equal(ours.encode(frame, hearing), codes)
            torch.testing.assert_close(ours.decode(codes, speaking), theirs.decode(codes), atol=1e-4, rtol=0)


def test_random_masks_and_resets_against_single_rows(pair: Pair) -> None:
    """Each of our rows, run when it likes, equals a reference that ran it alone."""
    ours, theirs = pair
    rows, steps = 2, 12
    draw = torch.Generator().manual_seed(3)
    runs = torch.rand(steps, rows, generator=draw) < 0.7
    resets = torch.rand(steps, rows, generator=draw) < 0.1
    pcm = noise(steps, rows, 1, FRAME, seed=2)
    hearing, speaking = ours.encoder_state(rows), ours.decoder_state(rows)
    got: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in range(rows)]
    for step in range(steps):
        for state in (hearing, speaking):
            state.reset(resets[step])
            state.set_exec_mask(runs[step])
        codes = ours.encode(pcm[step], hearing)
        sound = ours.decode(codes, speaking)
        for row in runs[step].nonzero().flatten().tolist():
            got[row].append((codes[row], sound[row]))
    for row in range(rows):
        with theirs.streaming(1):
            expected = iter(got[row])
            for step in range(steps):
                if resets[step, row]:
                    theirs.reset_streaming()
                if runs[step, row]:
                    codes, sound = next(expected)
                    assert torch.equal(theirs.encode(pcm[step, row][None])[0], codes)
                    torch.testing.assert_close(theirs.decode(codes[None])[0], sound, atol=1e-4, rtol=0)


def test_the_reference_also_starts_its_downsampling_per_row(pair: Pair) -> None:
    """A row that was reset pads with its own first latent while the other goes on."""
    ours, theirs = pair
    pcm = noise(2, 1, 4 * FRAME, seed=4)
    hearing = ours.encoder_state(2)
    with theirs.streaming(2):
        for index, frame in enumerate(pieces(pcm, FRAME)):
            if index == 2:
                hearing.reset(mask(0, 1))
                theirs.reset_streaming(mask(0, 1))
            torch.testing.assert_close(
                ours.latent(frame, hearing), theirs.encode_to_latent(frame, quantize=False), atol=1e-4, rtol=0
            )


def test_both_key_layouts_load(pair: Pair) -> None:
    ours, theirs = pair
    split = set(theirs.state_dict())
    stacked = set(ours.state_dict())
    layer = "encoder_transformer.transformer.layers.0.self_attn."
    assert {layer + "in_projs.0.weight", layer + "out_projs.0.weight"} <= split
    assert {layer + "in_proj_weight", layer + "out_proj.weight"} <= stacked
    theirs.load_state_dict(ours.state_dict())  # the reference reads what we save
