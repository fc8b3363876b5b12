"""Sealed files: they open with their key, and not when anything was done to them."""

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.sealed import (
    HEADER_BYTES,
    Keyring,
    SealedReader,
    SealedWriter,
    SealError,
    SealKey,
    read_key_file,
    read_keys,
    seal,
    unseal,
)

KEY, OTHER = SealKey(b"k" * 32), SealKey(b"o" * 32)
CELLS = [b"first", b"", b"third" * 100]


def sealed(cells: list[bytes] = CELLS, *, is_ended: bool = True) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out, KEY)
    for number, cell in enumerate(cells):
        writer.write(cell, is_last=is_ended and number == len(cells) - 1)
    return out.getvalue()


def opened(raw: bytes, *keys: SealKey) -> SealedReader:
    return SealedReader(io.BytesIO(raw), Keyring(keys or (KEY,)))


def test_what_was_sealed_opens_in_any_order_with_any_keyring_that_has_its_key() -> None:
    reader = opened(sealed(), OTHER, KEY)
    assert [reader.cell(number) for number in (2, 0, 1)] == [CELLS[2], CELLS[0], CELLS[1]]
    assert reader.is_complete and len(reader) == 3


def test_nothing_of_it_is_to_be_read_and_no_two_files_are_alike() -> None:
    one, other = sealed(), sealed()
    assert b"first" not in one and b"third" not in one and KEY.secret not in one
    assert one[HEADER_BYTES:] != other[HEADER_BYTES:]
    assert "kkk" not in repr(KEY)


def test_without_its_key_it_stays_shut() -> None:
    with pytest.raises(SealError, match="no key for this file"):
        opened(sealed(), OTHER)
    with pytest.raises(SealError, match="no sealed file"):
        opened(b"RIFF" + bytes(60))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed_wherever_it_is(place: int, flip: int) -> None:
    raw = bytearray(sealed())
    raw[place % len(raw)] ^= flip
    try:
        reader = opened(bytes(raw))
        found = [reader.cell(number) for number in range(len(reader))]
    except SealError:
        return
    # A length that was changed hides what follows: the rest is a file that was cut short.
    assert found == CELLS[: len(found)] and len(found) < 3 and not reader.is_complete


def test_cells_are_not_to_be_swapped_left_out_or_brought_from_elsewhere() -> None:
    head, one, two = _cells(sealed([b"aaaa", b"bbbb"]))
    for forged in (head + two + one, head + two, head + one + one):
        reader = opened(forged)
        with pytest.raises(SealError, match="changed"):
            [reader.cell(number) for number in range(len(reader))]
    foreign = _cells(sealed([b"aaaa", b"bbbb"]))[1]
    with pytest.raises(SealError, match="cell 0"):
        opened(head + foreign + two).cell(0)


def _cells(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Header and two cells of equal length."""
    middle = HEADER_BYTES + (len(raw) - HEADER_BYTES) // 2
    return raw[:HEADER_BYTES], raw[HEADER_BYTES:middle], raw[middle:]


def test_a_file_that_was_cut_opens_as_far_as_it_goes_and_says_so() -> None:
    whole = sealed(is_ended=False)
    for raw, num in ((whole, 3), (whole[:-1], 2), (sealed()[:-100], 2), (whole[:HEADER_BYTES], 0)):
        reader = opened(raw)
        assert [reader.cell(number) for number in range(len(reader))] == CELLS[:num]
        assert not reader.is_complete


def test_one_cell_files_are_whole_or_nothing() -> None:
    out = io.BytesIO()
    seal(b"words", KEY, out)
    assert unseal(io.BytesIO(out.getvalue()), Keyring([KEY])) == b"words"
    for raw in (out.getvalue()[:-1], sealed(), sealed([b"words"], is_ended=False)):
        with pytest.raises(SealError, match="cut short"):
            unseal(io.BytesIO(raw), Keyring([KEY]))


def test_keys_are_read_from_lines_the_first_seals(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of today\n{KEY.secret.hex()}\n\n{base64.b64encode(OTHER.secret).decode()}\n")
    keys = read_key_file(path)
    assert keys.current == KEY and keys.find(OTHER.key_id) == OTHER and keys.find(bytes(8)) is None


@pytest.mark.parametrize("text", ["", "# none\n", "abc", "00" * 31, "zz" * 32])
def test_what_is_no_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as refused:
        read_keys(text, "OFFHOOK_RECORDING__KEY")
    assert not text or text not in str(refused.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nokeys cannot be read"):
        read_key_file(tmp_path / "nokeys")
