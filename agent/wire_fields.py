"""How single values lie on the gateway-worker stream: each kind bounded, both ways. No I/O here."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import AgentError
from model.control import CallProfile

MAX_VOICE_BYTES = 128
MAX_ROLE_BYTES = 16 << 10
MAX_BIAS_TOKENS = 256
MAX_BANNED_TOKENS = 1024
MAX_TEMPERATURE = 100.0
MAX_TOP_K = 1 << 20
MAX_BIAS = 1000.0
MAX_TOKEN = 2**31 - 1


class MalformedMessage(AgentError):
    """Bytes on the worker stream are no message of this protocol."""


class Cursor:
    """What is left to read of one message."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, num_bytes: int) -> memoryview:
        if num_bytes > len(self._data):
            raise MalformedMessage(f"message ends {num_bytes - len(self._data)} bytes early")
        head, self._data = self._data[:num_bytes], self._data[num_bytes:]
        return head

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))

    @property
    def num_left(self) -> int:
        return len(self._data)


@dataclass(frozen=True)
class Field:
    """How one kind of value lies on the wire; both ways keep its bounds."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[Cursor], Any]


def number(code: str, limit: int) -> Field:
    """An integer of struct format `code`, at most `limit`."""
    form = struct.Struct("!" + code)

    def unpack(cursor: Cursor) -> int:
        (value,) = cursor.unpack(form)
        if value > limit:
            raise MalformedMessage(f"number {value} is beyond {limit}")
        return int(value)

    return Field(form.pack, unpack)


def seconds() -> Field:
    """A time or duration; never NaN or infinite."""
    form = struct.Struct("!d")

    def unpack(cursor: Cursor) -> float:
        (value,) = cursor.unpack(form)
        if not math.isfinite(value) or abs(value) > 1e12:
            raise MalformedMessage("a time is not a finite number of seconds")
        return float(value)

    return Field(form.pack, unpack)


def octets(size: int) -> Field:
    """Exactly `size` bytes."""

    def pack(value: bytes) -> bytes:
        assert len(value) == size, len(value)
        return value

    return Field(pack, lambda cursor: bytes(cursor.take(size)))


def text(max_bytes: int) -> Field:
    """UTF-8 text."""
    form = struct.Struct("!H")

    def pack(value: str) -> bytes:
        data = value.encode()
        assert len(data) <= max_bytes, f"{len(data)} bytes where {max_bytes} fit"
        return form.pack(len(data)) + data

    def unpack(cursor: Cursor) -> str:
        (size,) = cursor.unpack(form)
        if size > max_bytes:
            raise MalformedMessage(f"text of {size} bytes where {max_bytes} fit")
        try:
            return bytes(cursor.take(size)).decode()
        except UnicodeDecodeError:
            raise MalformedMessage("text is not UTF-8") from None

    return Field(pack, unpack)


def array(dtype: str, *limits: int) -> Field:
    """An array of at most `limits` per axis; items little-endian, as on every machine that runs a model."""
    form = struct.Struct(f"!{len(limits)}I")
    kind = np.dtype(dtype)

    def fits(shape: tuple[int, ...]) -> bool:
        return all(size <= limit for size, limit in zip(shape, limits, strict=True))

    def pack(value: NDArray[Any]) -> bytes:
        assert value.ndim == len(limits), value.shape
        assert fits(value.shape), (value.shape, limits)
        return form.pack(*value.shape) + np.ascontiguousarray(value, kind).tobytes()

    def unpack(cursor: Cursor) -> NDArray[Any]:
        shape = cursor.unpack(form)
        if not fits(shape):
            raise MalformedMessage(f"array of shape {shape} where {limits} fit")
        value = np.frombuffer(cursor.take(math.prod(shape) * kind.itemsize), kind).reshape(shape)
        if kind.kind == "f" and not np.isfinite(value).all():
            raise MalformedMessage("an array holds what is no finite number")
        return value.copy()  # aligned, writable, and free of the receive buffer

    return Field(pack, unpack)


def samples(size: int) -> Field:
    """Exactly `size` 16-bit samples."""

    def pack(value: NDArray[np.int16]) -> bytes:
        assert value.shape == (size,), value.shape
        return np.ascontiguousarray(value, "<i2").tobytes()

    return Field(pack, lambda cursor: np.frombuffer(cursor.take(2 * size), "<i2").copy())


def flag() -> Field:
    """A truth value; on the wire 0 or 1."""
    whole = number("B", 1)
    return Field(lambda value: whole.pack(int(value)), lambda cursor: bool(whole.unpack(cursor)))


def texts(max_count: int, max_bytes: int) -> Field:
    """At most `max_count` texts, each of at most `max_bytes`."""
    count, one = number("H", max_count), text(max_bytes)

    def pack(values: tuple[str, ...]) -> bytes:
        assert len(values) <= max_count, len(values)
        return count.pack(len(values)) + b"".join(map(one.pack, values))

    return Field(pack, lambda cursor: tuple(one.unpack(cursor) for _ in range(count.unpack(cursor))))


def real(low: float, high: float) -> Field:
    """A finite number between two bounds, both included."""
    form = struct.Struct("!d")

    def pack(value: float) -> bytes:
        assert low <= value <= high, value
        return form.pack(value)

    def unpack(cursor: Cursor) -> float:
        (value,) = cursor.unpack(form)
        if not low <= value <= high:  # NaN is between no bounds
            raise MalformedMessage(f"a number is outside {low:g}..{high:g}")
        return float(value)

    return Field(pack, unpack)


def optional(one: Field) -> Field:
    """A value, or None, on the wire behind a flag."""
    is_there = flag()

    def pack(value: Any) -> bytes:
        return is_there.pack(value is not None) + (b"" if value is None else one.pack(value))

    return Field(pack, lambda cursor: one.unpack(cursor) if is_there.unpack(cursor) else None)


def several(max_count: int, *parts: Field) -> Field:
    """At most `max_count` tuples of these parts; of single values where there is one part."""
    count = number("I", max_count)

    def pack(values: tuple[Any, ...]) -> bytes:
        assert len(values) <= max_count, len(values)
        rows = values if len(parts) > 1 else [(value,) for value in values]
        flat = (part.pack(item) for row in rows for part, item in zip(parts, row, strict=True))
        return count.pack(len(values)) + b"".join(flat)

    def unpack(cursor: Cursor) -> tuple[Any, ...]:
        rows = [tuple(part.unpack(cursor) for part in parts) for _ in range(count.unpack(cursor))]
        return tuple(rows) if len(parts) > 1 else tuple(row[0] for row in rows)

    return Field(pack, unpack)


def profile() -> Field:
    """A `model.control.CallProfile`: every part bounded, None where the model's own value stands."""
    token, temperature = number("I", MAX_TOKEN), optional(real(0.0, MAX_TEMPERATURE))
    top_k = optional(number("I", MAX_TOP_K))
    layout = {
        "voice": text(MAX_VOICE_BYTES),
        "role": text(MAX_ROLE_BYTES),
        "text_temperature": temperature,
        "text_top_k": top_k,
        "audio_temperature": temperature,
        "audio_top_k": top_k,
        "text_bias": several(MAX_BIAS_TOKENS, token, real(-MAX_BIAS, MAX_BIAS)),
        "banned": several(MAX_BANNED_TOKENS, token),
    }

    def pack(value: CallProfile) -> bytes:
        return b"".join(part.pack(getattr(value, name)) for name, part in layout.items())

    def unpack(cursor: Cursor) -> CallProfile:
        return CallProfile(**{name: part.unpack(cursor) for name, part in layout.items()})

    return Field(pack, unpack)
