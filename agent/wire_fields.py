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
