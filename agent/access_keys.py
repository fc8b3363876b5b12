"""API keys: who may ask this gateway for what. Hashes lie in one file of the state folder, keys nowhere.

A key is 256 random bits, so a plain SHA-256 of it is as safe at rest as a slow hash: a dictionary has nothing
to guess. Slow hashes (scrypt, argon2) are for passwords, and would cost each request tens of milliseconds.

    offhook_<id: 8 hex digits>_<43 letters>

The id is no secret: it names the key in lists and finds its record; what is compared, in constant time, is
the hash of the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from agent.errors import ConfigError

KEYS_FILE = "keys.json"
MIN_KEY_BYTES = 32  # of a key that the operator chose
MAX_NAME = 60
_KEY = re.compile(r"offhook_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,60}")


class Right(StrEnum):
    """What a key may be good for."""

    CALLS_READ = "calls:read"  # who is on the line, what is said, how the gateway is
    CALLS_CONTROL = "calls:control"  # hang up, make the agent say something or be silent
    CALLS_CREATE = "calls:create"  # begin a call by WebRTC
    CALLS_DIAL = "calls:dial"  # have us call somebody, which costs money
    RECORDINGS_READ = "recordings:read"  # sound and words of calls that are over
    METRICS_READ = "metrics:read"
    ADMIN = "admin"  # everything, and whatever has no right of its own


EVERYTHING = frozenset(Right)
CONSOLE_RIGHTS = EVERYTHING - {Right.ADMIN, Right.CALLS_DIAL}  # of whoever opens the printed link


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as it is kept; `digest` is the SHA-256 of its text in hex."""

    key_id: str
    name: str
    rights: frozenset[Right]
    digest: str
    created_at_s: int  # Unix epoch


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_rights(words: Iterable[str]) -> frozenset[Right]:
    """Rights by name. Raises ConfigError for one that is unknown, or for none."""
    try:
        rights = frozenset(Right(word.strip()) for word in words if word.strip())
    except ValueError as error:
        raise ConfigError(f"there is no right like that ({error}); choose from {', '.join(Right)}") from None
    if not rights:
        raise ConfigError(f"a key without rights opens nothing; choose from {', '.join(Right)}")
    return rights


def default_state_folder(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Where we keep what must outlive a restart, as the XDG base directory specification has it."""
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "offhook"


class KeyFile:
    """The keys of one state folder, read again whenever the file changes: a revoked key ends at once.

    `admin_key` is one more, with every right, that the operator gave by a setting.
    """

    def __init__(self, folder: Path, admin_key: str = "") -> None:
        self.path = folder / KEYS_FILE
        self._keys: dict[str, ApiKey] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._given: ApiKey | None = None
        if admin_key:
            self._given = ApiKey("setting", "OFFHOOK_HTTP__ADMIN_KEY", EVERYTHING, digest_of(admin_key), 0)

    @property
    def keys(self) -> Sequence[ApiKey]:
        """All keys, the oldest first. Raises ConfigError if the file cannot be read."""
        self._refresh()
        given = [self._given] if self._given is not None else []
        return [*given, *sorted(self._keys.values(), key=lambda key: key.created_at_s)]

    def find(self, text: str) -> ApiKey | None:
        """The key that is this text, or None."""
        digest = digest_of(text)
        if self._given is not None and hmac.compare_digest(digest, self._given.digest):
            return self._given
        found = _KEY.fullmatch(text)
        if found is None:
            return None
        self._refresh()
        key = self._keys.get(found[1])
        return key if key is not None and hmac.compare_digest(digest, key.digest) else None

    def by_id(self, key_id: str) -> ApiKey | None:
        """The key of this id, if it has not been revoked."""
        if self._given is not None and key_id == self._given.key_id:
            return self._given
        self._refresh()
        return self._keys.get(key_id)

    def add(self, name: str, rights: frozenset[Right]) -> str:
        """Make a key and keep its hash; its text, which is never shown again.

        Raises ConfigError for an empty name, or if the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"a key needs a name of 1 to {MAX_NAME} letters, like `supervisor`")
        self._refresh()
        key_id = secrets.token_hex(4)
        text = f"offhook_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(key_id, name, rights, digest_of(text), int(time.time()))
        self._write({**self._keys, key_id: key})
        return text

    def revoke(self, key_id: str) -> ApiKey:
        """Forget a key. Raises ConfigError if there is none of this id."""
        self._refresh()
        if key_id not in self._keys:
            raise ConfigError(f"there is no key {key_id!r}; `offhook keys list` shows them")
        left = {**self._keys}
        gone = left.pop(key_id)
        self._write(left)
        return gone

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._keys, self._stamp = {}, None
            return
        except OSError as error:
            raise self._unusable(error.strerror or "unreadable") from None
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise self._unusable("others may read it")
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
            keys = [_key_of(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(f"{type(error).__name__}: {error}") from None
        self._keys, self._stamp = {key.key_id: key for key in keys}, stamp

    def _write(self, keys: dict[str, ApiKey]) -> None:
        rows = [
            {
                "id": key.key_id,
                "name": key.name,
                "rights": sorted(key.rights),
                "sha256": key.digest,
                "created_at_s": key.created_at_s,
            }
            for key in keys.values()
        ]
        write_private(self.path, json.dumps({"keys": rows}, indent=1) + "\n")
        self._stamp = None

    def _unusable(self, cause: str) -> ConfigError:
        return ConfigError(f"{self.path} cannot be used ({cause}); `chmod 600` it, or remove it and add keys")


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all.

    Raises ConfigError, which names the setting, if the folder is not ours to write.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); set OFFHOOK_STATE to a folder that can"
        ) from None


def _key_of(row: dict[str, object]) -> ApiKey:
    rights = row["rights"]
    if not isinstance(rights, list) or not re.fullmatch(r"[0-9a-f]{64}", str(row["sha256"])):
        raise ValueError("a key is not as we write it")
    key = ApiKey(
        str(row["id"]), str(row["name"]), frozenset(), str(row["sha256"]), int(str(row["created_at_s"]))
    )
    return replace(key, rights=frozenset(Right(word) for word in rights))
