"""Spelling for the stand-in engine's tokens, so that everything around a model works without one."""

from agent.standin import CALLER_TOKEN, DELEGATE_TOKEN, LINE_TOKEN, WORD_TOKEN

HANGUP_TOKEN, TRANSFER_TOKEN, NOBODY_TOKEN = 700, 701, 702


class StandInTokens:
    """As `model.tokenizer.TextTokenizer`; a control token that is forced is obeyed like a sampled one."""

    hangup = HANGUP_TOKEN
    transfer = TRANSFER_TOKEN
    delegate = DELEGATE_TOKEN
    nobody = NOBODY_TOKEN

    def encode(self, text: str) -> list[int]:
        """A syllable for each word."""
        return [WORD_TOKEN] * len(text.split())

    def piece(self, token: int) -> str:
        """Where a line begins "▁line" and its number, "▁la" for a syllable, "▁caller" for a caller's turn."""
        if token >= LINE_TOKEN:
            return f"▁line{token - LINE_TOKEN}"
        return {WORD_TOKEN: "▁la", CALLER_TOKEN: "▁caller"}.get(token, "")
