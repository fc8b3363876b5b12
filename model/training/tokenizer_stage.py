"""The subwords. Words of the order line become single pieces; any other English can be spelt."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import sentencepiece

from model.order_line import Intent, draw_request
from model.tokenizer import CONTROL_PIECES, EPAD, PAD, TOKENIZER_FILE, load_text_tokenizer
from model.training.pool import draw_pool

CARD = 1024
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789'"


def sentences(seed: int) -> Iterator[str]:
    """Order-line talk many times over, and every word of a pronouncing dictionary once."""
    rng = random.Random(seed)
    talk = [line.text for line in draw_pool().lines()] * 2
    talk += [draw_request(rng, rng.choice(list(Intent)), is_lively=True).text for _ in range(6000)]
    for text in talk:
        yield "".join(c if c.isalnum() or c in "' " else " " for c in text.lower())
    import pocketsphinx  # here, because a machine that only trains on a made alphabet needs none

    dictionary = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    words = [line.split()[0] for line in dictionary.read_text(encoding="utf-8").splitlines()]
    plain = [word for word in words if word.replace("'", "").isalpha()]
    rng.shuffle(plain)
    for start in range(0, len(plain), 8):
        yield " ".join(plain[start : start + 8])


def train_tokenizer(directory: Path, seed: int = 0) -> int:
    """Write `tokenizer.model` into the model folder; the number of its tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(seed),
        model_writer=model,
        vocab_size=CARD,
        model_type="bpe",
        character_coverage=1.0,
        required_chars=LETTERS,
        normalization_rule_name="identity",
        user_defined_symbols=list(CONTROL_PIECES),
        unk_id=EPAD,
        bos_id=1,
        eos_id=2,
        pad_id=PAD,
        minloglevel=2,
    )
    (directory / TOKENIZER_FILE).write_bytes(model.getvalue())
    return load_text_tokenizer(directory).card
