"""UDP in batches: one system call for many packets, and the kernel's own time of each that arrives. Linux.

A generator of load shares the machine with what it loads: it must be cheap, and its own lateness must not be
taken for the other's. So packets go out by `sendmmsg` from memory that is laid out once, and what comes in is
stamped by the kernel when it comes, however late we look.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROOM = 64  # packets a read: what one socket's callers are sent in a few ticks
PACKET_BYTES = 1500
CONTROL_BYTES = 64
BUFFER_BYTES = 4 << 20
# Linux's, of asm-generic/socket.h and linux/sock_diag.h, which Python does not name.
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO, MEMINFO_DROPS, MEMINFO_BYTES = 33, 35, 55, 8, 36
MSG_DONTWAIT = 0x40

# struct mmsghdr of 64-bit Linux; every pointer below points into an array that lives as long as the socket.
_HEADER = np.dtype(
    {
        "names": [
            "name", "name_bytes", "vector", "num_vectors", "control", "control_bytes", "flags", "size"
        ],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)  # fmt: skip
_VECTOR = np.dtype([("base", "u8"), ("size", "u8")])
_ADDRESS = np.dtype([("family", "u2"), ("port", ">u2"), ("host", ">u4"), ("zero", "u8")])
_STAMP = np.dtype([("size", "u8"), ("level", "i4"), ("kind", "i4"), ("s", "i8"), ("ns", "i8")])

_libc = ctypes.CDLL(None, use_errno=True)


def _pointers(array: NDArray[np.void] | NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The address of each row."""
    return np.uint64(array.ctypes.data) + np.arange(len(array), dtype=np.uint64) * np.uint64(array.strides[0])


def _headers(names: NDArray[np.void], vectors: NDArray[np.void]) -> NDArray[np.void]:
    headers = np.zeros(len(vectors), _HEADER)
    headers["name"], headers["name_bytes"] = _pointers(names), _ADDRESS.itemsize
    headers["vector"], headers["num_vectors"] = _pointers(vectors), 1
    return headers


def host_number(host: str) -> int:
    """An IPv4 address as a number."""
    return int(struct.unpack("!I", socket.inet_aton(host))[0])


def host_text(number: int) -> str:
    """The same back."""
    return socket.inet_ntoa(struct.pack("!I", number))


class OutBatch:
    """Packets of one size that go out together: row i of `packets`, uint8 [N, size], to its own address."""

    def __init__(self, num_rows: int, packet_bytes: int) -> None:
        self.packets = np.zeros((num_rows, packet_bytes), np.uint8)
        self._names = np.zeros(num_rows, _ADDRESS)
        self._names["family"] = socket.AF_INET
        self._vectors = np.zeros(num_rows, _VECTOR)
        self._vectors["base"], self._vectors["size"] = _pointers(self.packets), packet_bytes
        self._all = _headers(self._names, self._vectors)
        self._chosen = self._all[:0].copy()

    def address(self, row: int, host: str, port: int) -> None:
        """Whom this row's packets are for."""
        self._names[row]["host"], self._names[row]["port"] = host_number(host), port

    def choose(self, rows: NDArray[np.intp]) -> None:
        """Send these rows from now on."""
        self._chosen = self._all[rows].copy()

    def send(self, sock: socket.socket) -> int:
        """Send the chosen rows; how many the kernel took."""
        sent, size = 0, len(self._chosen)
        while sent < size:
            at = self._chosen.ctypes.data + sent * _HEADER.itemsize
            count = _libc.sendmmsg(sock.fileno(), ctypes.c_void_p(at), size - sent, MSG_DONTWAIT)
            if count <= 0:
                return sent
            sent += count
        return sent


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Packets of one read, in the order in which they came."""

    at_s: NDArray[np.float64]  # [N] by the monotonic clock
    host: NDArray[np.uint32]  # [N] who sent it
    port: NDArray[np.uint16]
    size: NDArray[np.uint32]  # [N] bytes, of which at most PACKET_BYTES are kept
    packets: NDArray[np.uint8]  # [N, PACKET_BYTES]; valid until the next read


class BatchSocket:
    """A UDP socket of `host` that reads in batches.

    Linux begins to stamp packets some milliseconds after the machine's first socket asks for it; what comes
    before that has the time of its reading.
    """

    def __init__(self, host: str) -> None:
        """Raises OSError where there is no such address."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        try:
            self.socket.bind((host, 0))
        except OSError:
            self.socket.close()
            raise
        try:  # for root; for others the system's own limit holds
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._packets = np.zeros((ROOM, PACKET_BYTES), np.uint8)
        self._names = np.zeros(ROOM, _ADDRESS)
        self._stamps = np.zeros((ROOM, CONTROL_BYTES), np.uint8)
        vectors = self._vectors = np.zeros(ROOM, _VECTOR)
        vectors["base"], vectors["size"] = _pointers(self._packets), PACKET_BYTES
        self._headers = _headers(self._names, vectors)
        self._headers["control"] = _pointers(self._stamps)

    @property
    def port(self) -> int:
        """Our port."""
        port: int = self.socket.getsockname()[1]
        return port

    @property
    def num_dropped(self) -> int:
        """Packets that came when our buffer was full: lost by us, not by who sent them."""
        told = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_BYTES)
        return int(struct.unpack("=9I", told)[MEMINFO_DROPS])

    def read(self) -> Arrivals | None:
        """What has come, at most ROOM packets; None if nothing has."""
        headers = self._headers
        headers["name_bytes"], headers["control_bytes"] = _ADDRESS.itemsize, CONTROL_BYTES
        at = ctypes.c_void_p(headers.ctypes.data)
        count = _libc.recvmmsg(self.socket.fileno(), at, ROOM, MSG_DONTWAIT, None)
        if count <= 0:
            failure = ctypes.get_errno()
            if count < 0 and failure not in (errno.EAGAIN, errno.EINTR):
                raise OSError(failure, os.strerror(failure))
            return None
        stamps = self._stamps[:count, : _STAMP.itemsize].copy().view(_STAMP)[:, 0]
        ahead_s = time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()
        return Arrivals(
            stamps["s"] - ahead_s + stamps["ns"] * 1e-9,
            self._names["host"][:count].astype(np.uint32),
            self._names["port"][:count].astype(np.uint16),
            headers["size"][:count].copy(),
            self._packets[:count],
        )

    def close(self) -> None:
        """Free the port."""
        self.socket.close()
