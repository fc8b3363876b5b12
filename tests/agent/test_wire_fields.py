"""Each kind of value keeps its bounds, both ways."""

import math
import struct

import numpy as np
import pytest

from agent.wire_fields import (
    MAX_BANNED_TOKENS,
    MAX_BIAS_TOKENS,
    MAX_ROLE_BYTES,
    MAX_VOICE_BYTES,
    Cursor,
    Field,
    MalformedMessage,
    array,
    flag,
    number,
    octets,
    optional,
    profile,
    real,
    samples,
    seconds,
    several,
    text,
    texts,
)
from model.control import CallProfile


def unpack(field: Field, data: bytes) -> object:
    cursor = Cursor(memoryview(data))
    value = field.unpack(cursor)
    assert not cursor.num_left
    return value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (number("H", 1023), 1023),
        (number("i", 2**31 - 1), -7),
        (number("Q", 2**64 - 1), 2**64 - 1),
        (seconds(), -12.25),
        (octets(4), b"\0abc"),
        (text(8), "né"),
        (text(8), ""),
        (flag(), True),
        (texts(2, 4), ("né", "")),
        (texts(2, 4), ()),
        (real(0, 1), 0.1),
        (optional(number("H", 9)), None),
        (optional(number("H", 9)), 0),
        (several(2, number("H", 9)), (3, 4)),
        (several(2, number("H", 9), real(-1, 1)), ((3, 0.5),)),
        (profile(), CallProfile()),
        (profile(), CallProfile("v", "r", 0.0, 0, 1.5, 250, ((1, -2.5),), (3, 4))),
    ],
)
def test_what_is_packed_is_unpacked(field: Field, value: object) -> None:
    assert unpack(field, field.pack(value)) == value


def test_arrays_keep_shape_values_and_kind() -> None:
    value = np.arange(12, dtype=np.int16).reshape(3, 4)
    out = unpack(array("<i2", 3, 4), array("<i2", 3, 4).pack(value))
    assert isinstance(out, np.ndarray) and out.dtype == np.int16 and out.flags.writeable
    np.testing.assert_array_equal(out, value)


def test_samples_have_one_size_only() -> None:
    np.testing.assert_array_equal(unpack(samples(3), b"\1\0\2\0\3\0"), [1, 2, 3])
    with pytest.raises(AssertionError):
        samples(3).pack(np.zeros(4, np.int16))


@pytest.mark.parametrize(
    ("field", "data"),
    [
        (number("H", 1023), struct.pack("!H", 1024)),
        (number("H", 1023), b"\0"),
        (seconds(), struct.pack("!d", math.nan)),
        (seconds(), struct.pack("!d", math.inf)),
        (text(4), b"\0\5hello"),
        (text(4), b"\0\2\xff\xfe"),
        (text(4), b"\0\3ab"),
        (array("<i2", 8, 8), struct.pack("!2I", 9, 1) + bytes(18)),
        (array("<i2", 8), struct.pack("!I", 4) + bytes(7)),
        (array("<i2", 8, 8), struct.pack("!2I", 2**32 - 1, 2**32 - 1)),
        (array("<f4", 8), struct.pack("!I", 1) + struct.pack("<f", math.nan)),
        (samples(2), bytes(3)),
        (flag(), b"\2"),
        (texts(1, 4), b"\0\2" + bytes(4)),
        (texts(1, 1), b"\0\1\0\2ab"),
        (real(0, 1), struct.pack("!d", math.nan)),
        (real(0, 1), struct.pack("!d", 1.01)),
        (optional(number("H", 9)), b"\1\0\x0a"),
        (optional(number("H", 9)), b"\2\0\1"),
        (several(1, number("H", 9)), struct.pack("!IHH", 2, 1, 1)),
        (several(1, number("H", 9)), struct.pack("!I", 2**32 - 1)),
    ],
)
def test_what_is_out_of_bounds_is_malformed(field: Field, data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpack(field, data)


def test_our_own_values_out_of_bounds_are_our_fault() -> None:
    with pytest.raises(AssertionError):
        text(4).pack("hello")
    with pytest.raises(AssertionError):
        array("<i2", 2).pack(np.zeros(3, np.int16))


@pytest.mark.parametrize(
    "value",
    [
        CallProfile(voice="v" * (MAX_VOICE_BYTES + 1)),
        CallProfile(role="r" * (MAX_ROLE_BYTES + 1)),
        CallProfile(text_temperature=math.nan),
        CallProfile(audio_temperature=-0.1),
        CallProfile(text_bias=((1, math.inf),)),
        CallProfile(text_bias=((1, 1.0),) * (MAX_BIAS_TOKENS + 1)),
        CallProfile(banned=(1,) * (MAX_BANNED_TOKENS + 1)),
    ],
)
def test_a_profile_beyond_its_bounds_is_our_fault(value: CallProfile) -> None:
    with pytest.raises(AssertionError):
        profile().pack(value)
