"""The text streams' alphabet: SentencePiece pieces, and the tokens by which model and runtime talk.

A piece that opens a word begins with "▁". Ids follow the published models: 0 ends a padding (EPAD), 3 pads
(PAD). The built-in model's pieces are lower case, and it has control pieces besides: HANG_UP, TRANSFER and
DELEGATE are drawn by the model and obeyed by whoever runs the call; NOBODY is forced by the runtime when a
transfer is impossible, and the model then says so. Published models have none of these, and keep case and
marks.
"""

from __future__ import annotations

from pathlib import Path

import sentencepiece

from model.errors import CheckpointError

TOKENIZER_FILE = "tokenizer.model"
EPAD, PAD = 0, 3
WORD_START = "▁"
HANG_UP_PIECE, TRANSFER_PIECE, NOBODY_PIECE, DELEGATE_PIECE = (
    "<hangup>",
    "<transfer>",
    "<nobody>",
    "<delegate>",
)
CONTROL_PIECES = (HANG_UP_PIECE, TRANSFER_PIECE, NOBODY_PIECE, DELEGATE_PIECE)


class TextTokenizer:
    """Text to token ids and back, one token at a time."""

    pad = PAD
    epad = EPAD

    def __init__(self, pieces: sentencepiece.SentencePieceProcessor) -> None:
        self._pieces = pieces
        self.card = int(pieces.get_piece_size())
        self.hangup = self._control(HANG_UP_PIECE)
        self.transfer = self._control(TRANSFER_PIECE)
        self.nobody = self._control(NOBODY_PIECE)
        self.delegate = self._control(DELEGATE_PIECE)
        controls = {self.hangup, self.transfer, self.nobody, self.delegate}
        self.keeps_case = max(controls) < 0
        self._silent = {EPAD, 1, 2, PAD, *controls} - {-1}

    def _control(self, piece: str) -> int:
        """The id of a control piece, -1 if this model was trained without it (the published ones were)."""
        token = int(self._pieces.piece_to_id(piece))
        return token if token != EPAD else -1

    def encode(self, text: str) -> list[int]:
        """Token ids of any text; case and sentence marks are kept only if the model was trained with them."""
        if self.keeps_case:
            return [int(token) for token in self._pieces.encode(text)]
        plain = "".join(c if c.isalnum() or c in "' " else " " for c in text.lower())
        return [int(token) for token in self._pieces.encode(" ".join(plain.split()))]

    def piece(self, token: int) -> str:
        """What a token adds to the text, "▁" for a word's start; empty for padding and control tokens."""
        if token in self._silent or not 0 <= token < self.card:
            return ""
        return str(self._pieces.id_to_piece(token))

    def decode(self, tokens: list[int]) -> str:
        """The text of a token sequence, padding and control left out."""
        return "".join(self.piece(token) for token in tokens).replace(WORD_START, " ").strip()


def load_text_tokenizer(directory: Path) -> TextTokenizer:
    """The tokenizer of a model folder.

    Raises CheckpointError if its file is missing or no SentencePiece model.
    """
    return read_text_tokenizer(directory / TOKENIZER_FILE)


def read_text_tokenizer(path: Path) -> TextTokenizer:
    """The tokenizer of a SentencePiece file.

    Raises CheckpointError if it is missing or no SentencePiece model.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; a model folder holds its tokenizer beside the weights")
    try:
        return TextTokenizer(sentencepiece.SentencePieceProcessor(model_file=str(path)))
    except (RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} is no SentencePiece model: {error}") from error
