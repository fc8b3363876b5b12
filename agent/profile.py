"""The operator's `[agent]` settings and the model's tokenizer -> the profile that every claim carries."""

from __future__ import annotations

from collections.abc import Sequence

from agent.duplex import Tokens, sayable
from agent.engines import model_folder, tokenizer_file
from agent.errors import ConfigError
from agent.settings import AgentSettings, RecordingSettings, WorkerSettings
from agent.standin_tokens import StandInTokens
from agent.wire_fields import MAX_BANNED_TOKENS, MAX_BIAS_TOKENS, MAX_ROLE_BYTES
from model.control import CallProfile
from model.tokenizer import WORD_START, read_text_tokenizer


def load_tokens(settings: WorkerSettings) -> Tokens:
    """The tokenizer that belongs to the configured engine. Raises ModelError."""
    if settings.engine == "standin":
        return StandInTokens()
    return read_text_tokenizer(tokenizer_file(model_folder(settings.model_dir)))


def build_profile(settings: AgentSettings, tokens: Tokens) -> CallProfile:
    """Look the words up and read the role.

    Raises ConfigError that names the setting and what is wrong with it.
    """
    biased = [item.rpartition("=") for item in settings.text_bias]
    if len(biased) > MAX_BIAS_TOKENS or len(settings.banned) > MAX_BANNED_TOKENS:
        raise ConfigError(
            f"OFFHOOK_AGENT__TEXT_BIAS takes {MAX_BIAS_TOKENS} words, "
            f"OFFHOOK_AGENT__BANNED {MAX_BANNED_TOKENS}"
        )
    if settings.greeting and not sayable(tokens, settings.greeting):
        raise ConfigError("OFFHOOK_AGENT__GREETING holds nothing that this model can say")
    return CallProfile(
        voice=settings.voice,
        role=read_role(settings),
        text_temperature=settings.text_temperature,
        text_top_k=settings.text_top_k,
        audio_temperature=settings.audio_temperature,
        audio_top_k=settings.audio_top_k,
        text_bias=_unlike(
            tuple((token_of(word.strip(), tokens, "TEXT_BIAS"), float(number)) for word, _, number in biased),
            [word for word, _, _ in biased],
        ),
        banned=tuple(dict.fromkeys(token_of(word, tokens, "BANNED") for word in settings.banned)),
    )


def check_announcement(settings: RecordingSettings, tokens: Tokens) -> None:
    """Raises ConfigError for one that no caller will ever have heard: no call would be recorded after it."""
    if settings.announcement and not sayable(tokens, settings.announcement):
        raise ConfigError("OFFHOOK_RECORDING__ANNOUNCEMENT holds nothing that this model can say")


def read_role(settings: AgentSettings) -> str:
    """The role's text, wherever it stands. Raises ConfigError if its file cannot be read or is too long."""
    path = settings.role_file
    if path is None:
        return settings.role
    try:
        with path.open("rb") as file:
            role = file.read(MAX_ROLE_BYTES + 1)
        text = role.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"OFFHOOK_AGENT__ROLE_FILE={path} cannot be read ({cause})") from None
    if len(role) > MAX_ROLE_BYTES:
        raise ConfigError(f"OFFHOOK_AGENT__ROLE_FILE={path} is longer than {MAX_ROLE_BYTES} bytes")
    return text


def token_of(word: str, tokens: Tokens, setting: str) -> int:
    """The one text token that is this word.

    Raises ConfigError if the model spells it with several, or cannot spell it.
    """
    found = tokens.encode(word)
    pieces = [tokens.piece(token) for token in found]
    if not any(piece.strip(WORD_START) for piece in pieces):
        raise ConfigError(f"OFFHOOK_AGENT__{setting}: this model has no piece for {word!r}")
    if len(found) > 1:
        raise ConfigError(
            f"OFFHOOK_AGENT__{setting}: {word!r} is no single piece of this model's text "
            f"({' + '.join(pieces)}); only whole pieces can be set"
        )
    return found[0]


def _unlike(bias: tuple[tuple[int, float], ...], words: Sequence[str]) -> tuple[tuple[int, float], ...]:
    """The same, if no token is there twice: it would be unclear which number counts."""
    if len({token for token, _ in bias}) < len(bias):
        raise ConfigError(f"OFFHOOK_AGENT__TEXT_BIAS names a word twice ({', '.join(words)})")
    return bias
