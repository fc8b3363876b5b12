"""Where a worker listens: `unix:/run/offhook/w0.sock` or `tcp:host:7400`, and who may connect there."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError
from agent.wire import MAX_MESSAGE_BYTES, MIN_SECRET_BYTES

MAX_UNIX_PATH_BYTES = 107  # sockaddr_un, unix(7)
STREAM_BYTES = 1 << 20  # 256 frames of 80 ms
_BACKLOG = 16


def widen(writer: asyncio.StreamWriter) -> None:
    """Let a unix stream take a whole batch's frames at once, as far as the system allows: the rest of them
    would leave a turn of the event loop later, and miss the tick. TCP adapts by itself.
    """
    stream = writer.get_extra_info("socket")
    if stream.family == socket.AF_UNIX:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BYTES)


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """A unix socket's path, or a TCP host and port."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> WorkerAddress:
        """Read `unix:/path` or `tcp:host:port` (`tcp:[::1]:7400` for IPv6); ConfigError for anything else."""
        scheme, _, rest = text.partition(":")
        if scheme == "unix" and rest.startswith("/"):
            if len(os.fsencode(rest)) > MAX_UNIX_PATH_BYTES:
                raise ConfigError(
                    f"{text} is longer than the {MAX_UNIX_PATH_BYTES} bytes a socket's path may have"
                )
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if scheme == "tcp" and host and port.isdecimal() and int(port) < 65_536:
            return cls(host=host.strip("[]"), port=int(port))
        raise ConfigError(f"{text!r} is no worker address; write unix:/run/offhook/w0.sock or tcp:host:7400")

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"

    def check_secret(self, secret: bytes) -> None:
        """Refuse TCP without a secret, and secrets that can be guessed."""
        if not self.path and not secret:
            raise ConfigError(
                f"{self} is reached by TCP, which needs a shared secret: set OFFHOOK_WORKER__SECRET"
            )
        if secret and len(secret) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"OFFHOOK_WORKER__SECRET has {len(secret)} bytes; make it {MIN_SECRET_BYTES} or more, "
                "e.g. with `openssl rand -hex 32`"
            )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the stream; OSError when nobody listens."""
        if self.path:
            reader, writer = await asyncio.open_unix_connection(self.path, limit=MAX_MESSAGE_BYTES)
            widen(writer)
            return reader, writer
        return await asyncio.open_connection(self.host, self.port, limit=MAX_MESSAGE_BYTES)

    def listen(self) -> socket.socket:
        """A bound, listening socket; a unix one is open to this user only and appears under its name at once.

        Raises ConfigError when the address is taken or cannot be had.
        """
        try:
            return self._listen_unix() if self.path else self._listen_tcp()
        except OSError as error:
            raise ConfigError(f"cannot listen on {self}: {error.strerror}; choose another address") from error

    def remove(self) -> None:
        """Delete a unix socket's name; harmless when it is gone."""
        if self.path:
            Path(self.path).unlink(missing_ok=True)

    def _listen_tcp(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)

    def _listen_unix(self) -> socket.socket:
        if self._has_listener():
            raise ConfigError(f"another worker listens on {self}; stop it or choose another path")
        fresh = Path(f"{self.path}.{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(fresh))
            fresh.chmod(stat.S_IRUSR | stat.S_IWUSR)  # before anybody can find it
            listener.listen(_BACKLOG)
            fresh.rename(self.path)
        except OSError:
            listener.close()
            fresh.unlink(missing_ok=True)
            raise
        return listener

    def _has_listener(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.path)
            except OSError:
                return False
            return True
