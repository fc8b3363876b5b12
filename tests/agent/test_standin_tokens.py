"""The stand-in's spelling."""

from agent.standin import CALLER_TOKEN, LINE_TOKEN, PAD_TOKEN, WORD_TOKEN
from agent.standin_tokens import StandInTokens


def test_lines_syllables_and_the_caller_are_words_and_nothing_else_is() -> None:
    tokens = StandInTokens()
    spelled = [tokens.piece(token) for token in (LINE_TOKEN, LINE_TOKEN + 12, WORD_TOKEN, CALLER_TOKEN)]
    assert spelled == ["▁line0", "▁line12", "▁la", "▁caller"]
    silent = (PAD_TOKEN, -1, tokens.hangup, tokens.transfer, tokens.nobody)
    assert [tokens.piece(token) for token in silent] == [""] * 5
