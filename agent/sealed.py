"""Files that nobody reads without a key: what recordings are on disk when a key is given. Blocking.

    header   OFFHOOKS | 1 (version) | 8 bytes: which key | 16 bytes: salt
    cell     4 bytes: length | AES-256-GCM of the cell's bytes, 16 bytes tag
    ...      until the last cell, which is marked as such

Each file has a key of its own: HKDF-SHA256 of the operator's key with the file's salt. A cell's nonce is its
number and whether it is the last (11 + 1 bytes), and the header is authenticated with each: cells that were
changed, swapped, left out or taken from another file do not open, and a file that was cut short is known to
be (the STREAM construction, Hoang, Reyhanitabar, Rogaway, Vizar 2015; NIST SP 800-38D). A file that its
process's death cut short opens up to its last whole cell.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.errors import AgentError, ConfigError

MAGIC = b"OFFHOOKS\x01"
KEY_BYTES = 32
ID_BYTES, SALT_BYTES, TAG_BYTES = 8, 16, 16
HEADER_BYTES = len(MAGIC) + ID_BYTES + SALT_BYTES
MAX_CELL_BYTES = 64_000_000  # more is no cell of ours


class SealError(AgentError):
    """A sealed file that cannot be opened: no key for it, changed, or not one at all."""


@dataclass(frozen=True, slots=True, repr=False)
class SealKey:
    """One key of the operator's, 32 bytes; its id is no secret."""

    secret: bytes

    @property
    def key_id(self) -> bytes:
        """Which key it is, as files say it."""
        return hashlib.sha256(b"offhook seal key id" + self.secret).digest()[:ID_BYTES]


class Keyring:
    """The key that seals, and all that open."""

    def __init__(self, keys: Sequence[SealKey]) -> None:
        """`keys`: the first seals; there is at least one."""
        assert keys
        self.current = keys[0]
        self._by_id = {key.key_id: key for key in keys}

    def find(self, key_id: bytes) -> SealKey | None:
        """The key that files name so."""
        return self._by_id.get(key_id)


def read_keys(text: str, source: str) -> Keyring:
    """Keys, one a line, in hex or base64; lines that begin with # are none.

    Raises ConfigError, which quotes none of it.
    """
    lines = [line.strip() for line in text.splitlines()]
    keys = [_key_of(line, source) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{source} holds no key; make one with `openssl rand -hex 32`")
    return Keyring(keys)


def read_key_file(path: Path) -> Keyring:
    """The keys in a file. Raises ConfigError."""
    try:
        return read_keys(path.read_text(encoding="ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {path} cannot be read: {type(error).__name__}") from None


def _key_of(line: str, source: str) -> SealKey:
    try:
        secret = bytes.fromhex(line) if len(line) == 2 * KEY_BYTES else base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"{source} has a line that is no key of 32 bytes; try `openssl rand -hex 32`")
    return SealKey(secret)


def _cipher(key: SealKey, header: bytes) -> AESGCM:
    salt = header[-SALT_BYTES:]
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, b"offhook recording" + header).derive(key.secret))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


class SealedWriter:
    """A file that is being sealed, cell by cell."""

    def __init__(self, file: BinaryIO, key: SealKey) -> None:
        self._file = file
        self._header = MAGIC + key.key_id + os.urandom(SALT_BYTES)
        self._cipher = _cipher(key, self._header)
        self._num = 0
        file.write(self._header)

    def write(self, plain: bytes, *, is_last: bool = False) -> None:
        """Append one cell; after the last there is none. Raises OSError when the disk does not take it."""
        sealed = self._cipher.encrypt(_nonce(self._num, is_last=is_last), plain, self._header)
        self._file.write(struct.pack(">I", len(sealed)) + sealed)
        self._num += 1


class SealedReader:
    """A sealed file that is open; any cell, in any order."""

    def __init__(self, file: BinaryIO, keys: Keyring) -> None:
        """Find the cells. Raises SealError if it is no sealed file or there is no key for it."""
        self._file = file
        self._header = file.read(HEADER_BYTES)
        if len(self._header) != HEADER_BYTES or not self._header.startswith(MAGIC):
            raise SealError("this is no sealed file")
        key = keys.find(self._header[len(MAGIC) : len(MAGIC) + ID_BYTES])
        if key is None:
            raise SealError("there is no key for this file; add the one it was sealed with as a further line")
        self._cipher = _cipher(key, self._header)
        self._places = list(_places(file))

    def __len__(self) -> int:
        """Whole cells; what a crash left half-written is none."""
        return len(self._places)

    def cell(self, number: int) -> bytes:
        """One cell's bytes. Raises SealError if it was changed."""
        is_end = number == len(self._places) - 1
        try:
            return self._open(number, is_last=is_end)
        except InvalidTag:
            pass
        try:
            if is_end:  # of a file that was cut short
                return self._open(number, is_last=False)
        except InvalidTag:
            pass
        raise SealError(f"cell {number} of the file was changed")

    @property
    def is_complete(self) -> bool:
        """Whether the file ends where its writer ended it. Raises nothing for a file that is cut."""
        if not self._places:
            return False
        try:
            self._open(len(self._places) - 1, is_last=True)
        except InvalidTag:
            return False
        return True

    def _open(self, number: int, *, is_last: bool) -> bytes:
        place, length = self._places[number]
        self._file.seek(place)
        sealed = self._file.read(length)
        return self._cipher.decrypt(_nonce(number, is_last=is_last), sealed, self._header)


def _places(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Offset and length of every whole cell after the header."""
    end = file.seek(0, os.SEEK_END)
    at = HEADER_BYTES
    while at + 4 <= end:
        file.seek(at)
        (length,) = struct.unpack(">I", file.read(4))
        if not TAG_BYTES <= length <= MAX_CELL_BYTES or at + 4 + length > end:
            return
        yield at + 4, length
        at += 4 + length


def seal(plain: bytes, key: SealKey, file: BinaryIO) -> None:
    """Write a sealed file of one cell."""
    SealedWriter(file, key).write(plain, is_last=True)


def unseal(file: BinaryIO, keys: Keyring) -> bytes:
    """The bytes of a sealed file of one cell. Raises SealError, also if it was cut short."""
    reader = SealedReader(file, keys)
    if len(reader) != 1 or not reader.is_complete:
        raise SealError("the file was cut short")
    return reader.cell(0)
