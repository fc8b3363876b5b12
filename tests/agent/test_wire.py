"""Messages survive the wire; random and damaged bytes raise MalformedMessage and nothing else."""

import asyncio
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import wire
from agent.wire import Message, parse, read_message
from agent.wire_fields import MalformedMessage
from model.control import CallProfile

LENGTH_BYTES = 4
FULL_PROFILE = CallProfile(
    "anna", "You take orders für Kaffee.", 0.7, 25, 0.0, 0, ((7, -2.5), (9, 100.0)), (4, 5)
)
LARGEST_PROFILE = CallProfile(
    "v" * 128,
    "r" * (16 << 10),
    text_bias=tuple((token, 1.0) for token in range(256)),
    banned=tuple(range(1024)),
)


def example_messages() -> list[Message]:
    rng = np.random.default_rng(1)
    frame = rng.integers(-32768, 32768, wire.FRAME_SAMPLES).astype(np.int16)
    nonce, mac = bytes(range(32)), bytes(range(100, 132))
    return [
        wire.Challenge(nonce),
        wire.Proof(nonce, mac),
        wire.Verdict(mac),
        wire.Hello("w0", "builtin", 4, 17, 1920, 0.08, 1234.56, ("anna", "béla"), True, 0.05),
        wire.Hello("w0", "builtin", 4, 17, 1920, 0.08, 1234.56, (), False, 0.0),
        wire.ClockProbe(12.5),
        wire.ClockReply(12.5, -3.25),
        wire.Claim("call-é", 2**63, 7, rng.integers(0, 2048, (5, 17)).astype(np.int16), frame, FULL_PROFILE),
        wire.Claim("call", 0, 0, wire.NO_HISTORY, wire.NO_SPEECH, CallProfile()),
        wire.Claimed("call", 9, 3, 2**32 - 1, 0.25),
        wire.Refused("call", 9, wire.RefusalReason.FULL, ""),
        wire.Refused("call", 9, wire.RefusalReason.PROMPT, "no voice of that name"),
        wire.CallerFrame(3, 77, 12, frame),
        wire.Reply(3, 77, 12, -1, 605, 1.0, 1.02, 0.02, np.arange(17, dtype=np.int16), frame),
        wire.ForceText(3, 77, -101),
        wire.Release(3, 77),
        wire.Fault(3, 77, "the engine raised ValueError"),
        wire.Stats(1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5, 0.01, np.array([0.01, 0.02], np.float32)),
        wire.Drain(),
        wire.Say(3, 77, np.array([5, 31_999], np.int32)),
        wire.Silence(3, 77, wire.MAX_SILENCE_FRAMES),
    ]


def values(message: Message) -> dict[str, Any]:
    found = {f.name: getattr(message, f.name) for f in fields(message)}  # type: ignore[arg-type]
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in found.items()}


@pytest.mark.parametrize("message", example_messages(), ids=lambda m: type(m).__name__)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    back = parse(message.encode()[LENGTH_BYTES:])
    assert type(back) is type(message)
    assert values(back) == values(message)


def test_every_kind_of_message_has_an_example() -> None:
    assert {type(message) for message in example_messages()} == set(Message.__subclasses__())


def parse_or_refuse(body: bytes) -> None:
    try:
        parse(body)
    except MalformedMessage as error:
        assert str(error)


@given(st.binary(max_size=400))
def test_random_bytes_raise_only_malformed(body: bytes) -> None:
    parse_or_refuse(body)


@given(st.integers(0, 22), st.binary(max_size=400))
def test_random_fields_raise_only_malformed(code: int, rest: bytes) -> None:
    parse_or_refuse(bytes([wire.PROTOCOL_VERSION, code]) + rest)


@given(st.sampled_from(example_messages()), st.data())
def test_damaged_messages_raise_only_malformed(message: Message, data: st.DataObject) -> None:
    body = bytearray(message.encode()[LENGTH_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    parse_or_refuse(bytes(body[: data.draw(st.integers(0, len(body)))]))


@pytest.mark.parametrize("message", example_messages(), ids=lambda m: type(m).__name__)
def test_a_byte_more_or_less_is_malformed(message: Message) -> None:
    body = message.encode()[LENGTH_BYTES:]
    with pytest.raises(MalformedMessage):
        parse(body[:-1])
    with pytest.raises(MalformedMessage):
        parse(body + b"\0")


def test_another_version_is_named() -> None:
    with pytest.raises(MalformedMessage, match="version 9"):
        parse(bytes([9, wire.Drain.TYPE]))


async def read_all(data: bytes, max_bytes: int = wire.MAX_MESSAGE_BYTES) -> list[Message]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while (message := await read_message(reader, max_bytes)) is not None:
        found.append(message)
    return found


async def test_messages_are_read_one_after_another_until_the_end() -> None:
    messages = example_messages()
    found = await read_all(b"".join(message.encode() for message in messages))
    assert [values(m) for m in found] == [values(m) for m in messages]


async def test_a_stream_that_ends_inside_a_message_is_malformed() -> None:
    data = wire.Drain().encode() + wire.ClockProbe(1.0).encode()
    for size in (len(data) - 1, len(wire.Drain().encode()) + 2):
        with pytest.raises(MalformedMessage, match="ended inside"):
            await read_all(data[:size])


@pytest.mark.parametrize("size", [0, 1, 257, 2**32 - 1])
async def test_a_length_out_of_bounds_is_refused_before_anything_is_read(size: int) -> None:
    with pytest.raises(MalformedMessage, match="where 256 fit"):
        await read_all(size.to_bytes(4, "big") + bytes(300), max_bytes=256)


def test_the_largest_claim_fits() -> None:
    history = np.zeros((8192, 17), np.int16)
    speech = np.zeros(60 * wire.SAMPLE_RATE_HZ, np.int16)
    assert len(wire.Claim("c", 1, 1, history, speech, LARGEST_PROFILE).encode()) < wire.MAX_MESSAGE_BYTES


def test_the_largest_hello_fits_what_a_gateway_reads() -> None:
    voices = tuple("v" * 128 for _ in range(wire.MAX_VOICES))
    hello = wire.Hello("w" * 256, "m" * 256, 4, 17, 1920, 0.08, 0.0, voices, True, 0.05)
    assert len(hello.encode()) <= wire.MAX_HELLO_BYTES


def test_macs_differ_by_side_secret_and_nonces() -> None:
    one, other = bytes(32), bytes([1]) * 32
    macs = {
        wire.gateway_mac(b"secret", one, other),
        wire.worker_mac(b"secret", one, other),
        wire.gateway_mac(b"other", one, other),
        wire.gateway_mac(b"secret", other, one),
    }
    assert len(macs) == 4
    assert wire.same_mac(wire.worker_mac(b"s", one, other), wire.worker_mac(b"s", one, other))
