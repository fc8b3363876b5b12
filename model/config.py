"""Sizes of a model of the Moshi family. Field names are those of published configuration files.

Defaults are the published 7B model (arXiv 2410.00037, tables 1 and 2); the built-in model's sizes stand in
its own config.json.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_origin, get_type_hints

from model.errors import ConfigError

SAMPLE_RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_RATE_HZ = SAMPLE_RATE_HZ / FRAME_SAMPLES

MAX_NUMBER = 1 << 24  # no size of a model comes near
MAX_CONTEXT = 1 << 17  # frames: hours
MAX_PARTS = 1024  # layers, heads, streams
MAX_TEMPERATURE = 100
MAX_BIAS = 30  # in logits: more is always
MAX_GAIN = 10  # of a word among all that a column says: beyond it nothing else would be read
MAX_RECITED = 16  # digits of a number
ZERO_TOKEN = -1  # a stream that carries nothing at this step adds nothing to the input


WORDS = "tuple[str, ...]"  # the type of a field that holds no number


def _check_numbers(config: Any, counts: Collection[str], limits: Mapping[str, int]) -> None:
    """Raise ConfigError for a number that no model can have: `counts` begin at 1, all others at 0."""
    kind = type(config).__name__
    for one in fields(config):
        if one.type == WORDS:
            continue
        value = getattr(config, one.name)
        numbers = value if isinstance(value, tuple) else (value,)
        least, most = int(one.name in counts), limits.get(one.name, MAX_NUMBER)
        wanted = int | float if one.type == "float" else int
        if not all(isinstance(number, wanted) and number >= least for number in numbers):
            raise ConfigError(f"{kind}.{one.name} is {value!r}; numbers of at least {least} are needed")
        if not all(number <= most for number in numbers):
            raise ConfigError(f"{kind}.{one.name} is {value!r}; at most {most} can be run")


@dataclass(frozen=True)
class SeanetConfig:
    """Convolutional half of the codec; `ratios` in the decoder's order, their product is the hop."""

    dimension: int = 512
    n_filters: int = 64
    ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    residual_kernel_size: int = 3
    last_kernel_size: int = 3
    compress: int = 2

    def __post_init__(self) -> None:
        _check_numbers(self, [one.name for one in fields(self)], {"ratios": FRAME_SAMPLES})


@dataclass(frozen=True)
class CodecTransformerConfig:
    """One of the codec's two transformers, at 25 Hz."""

    num_heads: int = 8
    num_layers: int = 8
    dim_feedforward: int = 2048
    context: int = 250
    max_period: float = 10_000.0
    layer_scale: float = 0.01

    def __post_init__(self) -> None:
        counts = ("num_heads", "dim_feedforward", "context", "max_period")
        _check_numbers(
            self, counts, {"context": MAX_CONTEXT, "num_layers": MAX_PARTS, "num_heads": MAX_PARTS}
        )


@dataclass(frozen=True)
class QuantizerConfig:
    """Split residual quantizer: one semantic codebook and `n_q - 1` acoustic ones."""

    dimension: int = 256
    n_q: int = 8
    bins: int = 2048

    def __post_init__(self) -> None:
        _check_numbers(self, [one.name for one in fields(self)], {"n_q": MAX_PARTS})


@dataclass(frozen=True)
class ProsodyConfig:
    """What tells how a caller speaks; `codes` are the manners that it knows, and none (0: it is left out)."""

    codes: int = 0
    dim: int = 64

    def __post_init__(self) -> None:
        _check_numbers(self, ("dim",), {"codes": MAX_PARTS, "dim": MAX_PARTS})


@dataclass(frozen=True)
class CodecConfig:
    """A Mimi-type codec: 24 kHz audio <-> `n_q` codes at 12.5 Hz.

    With `prosody` encoding gives one code more a frame: how it was said. Decoding does not use it.
    """

    seanet: SeanetConfig = field(default_factory=SeanetConfig)
    encoder_transformer: CodecTransformerConfig = field(default_factory=CodecTransformerConfig)
    decoder_transformer: CodecTransformerConfig = field(default_factory=CodecTransformerConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    prosody: ProsodyConfig = field(default_factory=ProsodyConfig)

    @property
    def encoded_q(self) -> int:
        """Codes that encoding gives a frame."""
        return self.quantizer.n_q + (self.prosody.codes > 0)

    @property
    def hop_samples(self) -> int:
        """Samples per latent before the down-sampling by two."""
        product = 1
        for ratio in self.seanet.ratios:
            product *= ratio
        return product

    def __post_init__(self) -> None:
        for transformer in (self.encoder_transformer, self.decoder_transformer):
            if self.seanet.dimension % transformer.num_heads:
                raise ConfigError(
                    f"the codec's dimension {self.seanet.dimension} is no multiple of its "
                    f"{transformer.num_heads} heads"
                )
        if 2 * self.hop_samples != FRAME_SAMPLES:
            raise ConfigError(
                f"codec ratios {self.seanet.ratios} give a frame of {2 * self.hop_samples} samples; "
                f"the frame loop needs {FRAME_SAMPLES}: their product must be {FRAME_SAMPLES // 2}"
            )


_COUNTS = (
    "dim",
    "num_heads",
    "num_layers",
    "context",
    "max_period",
    "n_q",
    "dep_q",
    "card",
    "text_card",
    "depformer_dim",
    "depformer_dim_feedforward",
    "depformer_num_heads",
    "depformer_num_layers",
)  # there is at least one of each


@dataclass(frozen=True)
class LmConfig:
    """The two-stream language model: 1 text stream, then the agent's codes, then the caller's.

    `dep_q` streams are predicted by the depth model. That is the agent's codes in most models; where it is
    the caller's as well (PersonaPlex), `agent_codebooks` says how many of them are the agent's.
    """

    dim: int = 4096
    num_heads: int = 32
    num_layers: int = 32
    hidden_scale: float = 4.125
    context: int = 3000
    max_period: float = 10_000.0
    n_q: int = 16
    dep_q: int = 8
    agent_codebooks: int = 0  # 0: all that the depth model predicts
    card: int = 2048
    text_card: int = 32_000
    existing_text_padding_id: int = 3
    delays: tuple[int, ...] = (0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1)
    depformer_dim: int = 1024
    depformer_dim_feedforward: int = 4224
    depformer_num_heads: int = 16
    depformer_num_layers: int = 6
    depformer_low_rank_embeddings: int = 0  # width that the depth model's token tables are stored in; 0: full
    depformer_weights_per_step_schedule: tuple[int, ...] = ()  # step -> set of weights; empty: one set each
    extra_heads_num_heads: int = 0
    extra_heads_dim: int = 0
    extra_heads_fed_back: int = 0  # 1: what the first of them wrote is a stream that the next step reads

    def __post_init__(self) -> None:
        parts = ("num_heads", "num_layers", "n_q", "delays", "depformer_num_heads", "depformer_num_layers",
                 "extra_heads_num_heads", "extra_heads_fed_back")  # fmt: skip
        _check_numbers(self, _COUNTS, dict.fromkeys(parts, MAX_PARTS) | {"context": MAX_CONTEXT})
        if len(self.delays) != self.n_q + 1:
            raise ConfigError(
                f"{len(self.delays)} delays for {self.n_q + 1} streams: one for text and one for each of n_q"
            )
        if self.dim % self.num_heads or self.depformer_dim % self.depformer_num_heads:
            raise ConfigError("dim and depformer_dim must be multiples of their number of heads")
        if self.dep_q > self.n_q:
            raise ConfigError(f"dep_q {self.dep_q} is more than the n_q {self.n_q} streams")
        if not 0 <= self.extra_heads_fed_back <= min(1, self.extra_heads_num_heads):
            raise ConfigError(
                f"extra_heads_fed_back {self.extra_heads_fed_back} with {self.extra_heads_num_heads} extra "
                "heads: 0, or 1 in a model that has them"
            )
        if not 0 <= self.agent_codebooks <= self.dep_q:
            raise ConfigError(
                f"agent_codebooks {self.agent_codebooks} is not among the {self.dep_q} streams of dep_q"
            )
        schedule = self.depformer_weights_per_step_schedule
        if schedule and (len(schedule) != self.dep_q or set(schedule) != set(range(max(schedule) + 1))):
            raise ConfigError(
                f"depformer_weights_per_step_schedule {list(schedule)} does not give each of "
                f"dep_q {self.dep_q} steps one of the weight sets 0, 1, 2..."
            )

    @property
    def num_streams(self) -> int:
        """Text, agent and caller streams together, and what an extra head wrote if that is fed back."""
        return self.n_q + 1 + self.extra_heads_fed_back

    @property
    def all_delays(self) -> tuple[int, ...]:
        """Frames that each of the `num_streams` is late by."""
        return self.delays + (0,) * self.extra_heads_fed_back

    @property
    def agent_q(self) -> int:
        """Codebooks of the agent: streams 1..agent_q, and the depth steps that are needed to speak."""
        return self.agent_codebooks or self.dep_q

    @property
    def caller_q(self) -> int:
        """Codebooks of the caller: the last streams."""
        return self.n_q - self.agent_q

    @property
    def weight_sets(self) -> tuple[int, ...]:
        """Which of the depth model's sets of weights each of its `dep_q` steps uses."""
        return self.depformer_weights_per_step_schedule or tuple(range(self.dep_q))

    @property
    def num_weight_sets(self) -> int:
        """Sets of weights that the depth model has."""
        return max(self.weight_sets) + 1

    @property
    def max_delay(self) -> int:
        """The largest acoustic delay in frames."""
        return max(self.delays)


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn; temperature 0 takes the likeliest."""

    text_temperature: float = 0.7
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250
    text_once_frames: int = 0  # a small model may say a piece twice: it is barred for so many frames
    # From so many digits on that the caller said, the agent's digits are those, in order; 0: the model's own.
    recite_from_digits: int = 0
    # So long after a caller's words that nothing followed the agent begins to answer; 0: when the model does.
    answer_within_frames: int = 0
    # The same after words that may end a sentence, all but `open_words`; 0: no sooner than after these.
    answer_ended_within_frames: int = 0
    open_words: tuple[str, ...] = ()
    yield_to_words: int = 0  # so many over its line silence the agent; 0: what the model yields to
    # In logits: how much likelier a turn's first word is written down, and any word over the agent's line.
    heard_bias: float = 0.0
    heard_over_line_bias: float = 0.0
    grounded_words: tuple[str, ...] = ()  # that the agent says once they were said in the call
    # How many times more than in training the model heeds a word that it is given: of a number that it
    # recites, of a sentence that it is told. A small model's sound is else half that of the word it meant.
    given_gain: float = 1.0
    recited_gain: float = 1.0  # the same for digits, which too much of it makes sound like others

    def __post_init__(self) -> None:
        for name in ("open_words", "grounded_words"):
            words = getattr(self, name)
            if not all(isinstance(word, str) and word.isalpha() for word in words):
                raise ConfigError(f"SamplingConfig.{name} is {words!r}; words are needed")
        hottest = dict.fromkeys(("text_temperature", "audio_temperature"), MAX_TEMPERATURE)
        hottest |= dict.fromkeys(("heard_bias", "heard_over_line_bias"), MAX_BIAS)
        hottest |= dict.fromkeys(("given_gain", "recited_gain"), MAX_GAIN)
        _check_numbers(self, (), hottest | {"text_once_frames": MAX_PARTS, "recite_from_digits": MAX_RECITED})
        for name in ("given_gain", "recited_gain"):
            if getattr(self, name) == 0:
                raise ConfigError(
                    f"SamplingConfig.{name} is 0: words it is given had no sound; 1 leaves them"
                )
        if self.answer_ended_within_frames > self.answer_within_frames:
            raise ConfigError(
                f"answer_ended_within_frames {self.answer_ended_within_frames} is longer than "
                f"answer_within_frames {self.answer_within_frames}: an ended sentence is answered sooner"
            )

    @property
    def is_held_to_transcript(self) -> bool:
        """Whether what the caller was heard to say bounds what the agent does (`model.answering`)."""
        frames = self.answer_within_frames or self.yield_to_words
        biases = self.heard_bias or self.heard_over_line_bias
        return bool(frames or biases or self.grounded_words)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that `config.json` beside the weights says."""

    name: str
    codec: CodecConfig
    lm: LmConfig
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        quantizer, lm = self.codec.quantizer, self.lm
        if lm.card != quantizer.bins:
            raise ConfigError(
                f"the language model speaks {lm.card} codes per codebook, the codec has {quantizer.bins}: "
                "card and bins must be equal"
            )
        heard_q = self.codec.encoded_q
        if lm.agent_q > quantizer.n_q or lm.caller_q > heard_q:
            raise ConfigError(
                f"{lm.agent_q} agent and {lm.caller_q} caller codes are asked of a codec that has "
                f"{quantizer.n_q} codebooks and tells {heard_q} codes of what it hears"
            )
        if self.codec.prosody.codes > lm.card:
            raise ConfigError(
                f"the codec tells {self.codec.prosody.codes} manners of speaking, more than the {lm.card} "
                "codes of a stream of the language model"
            )
        if self.sampling.recite_from_digits and not lm.extra_heads_fed_back:
            raise ConfigError(
                f"recite_from_digits {self.sampling.recite_from_digits} is for models that read back what "
                "they wrote down (extra_heads_fed_back 1); 0 leaves digits to the model"
            )
        sampling = self.sampling
        if sampling.is_held_to_transcript and not lm.extra_heads_fed_back:
            raise ConfigError(
                "answer_within_frames, yield_to_words, heard_bias, heard_over_line_bias and grounded_words "
                "are for models that read back what they wrote down (extra_heads_fed_back 1); 0 and [] turn "
                "it off"
            )

    def to_json(self) -> dict[str, Any]:
        """A plain tree for `json.dump`."""
        return asdict(self)


T = TypeVar("T")


def from_json(cls: type[T], tree: Mapping[str, Any]) -> T:
    """Build a config dataclass from a plain tree.

    Raises ConfigError on an unknown key, naming it and the known ones, and on a value of the wrong kind.
    """
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{cls.__name__} is a JSON object, not {tree!r}")
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(tree) - known)
    if unknown:
        raise ConfigError(
            f"{cls.__name__} does not know {', '.join(unknown)}; it knows {', '.join(sorted(known))}"
        )
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in tree.items():
        hint = hints[name]
        if is_dataclass(hint):
            value = from_json(hint, value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        kind = get_origin(hint) or hint
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise ConfigError(f"{cls.__name__}.{name} is {value!r}, where {hint} is expected")
        if kind is float and isinstance(value, int) and abs(value) <= MAX_NUMBER:
            value = float(value)
        values[name] = value
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__}: {error}") from error
