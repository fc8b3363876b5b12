"""A caller's number as a word that finds their recordings and tells nothing: HMAC-SHA256 with a secret salt.

Numbers are few enough to try them all, so a hash without a secret would hide nothing. The salt lies in the
state folder; whoever deletes it makes all earlier words meaningless.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from agent.access_keys import write_private
from agent.errors import ConfigError

SALT_FILE = "caller-salt"
HASH_LETTERS = 16
_USER = re.compile(r"(?:(?:sips?|tel):)?([^@;>]*)")


def load_salt(folder: Path) -> bytes:
    """The salt of this state folder, made at the first call. Raises ConfigError if it cannot be kept."""
    path = folder / SALT_FILE
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        salt = secrets.token_bytes(32)
        write_private(path, salt.hex() + "\n")
        return salt
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be used ({error}); remove it: then nobody finds earlier callers"
        ) from None


def caller_hash(salt: bytes, caller: str) -> str | None:
    """16 hex digits for a SIP or tel URI or a number, however it is written; None for nobody."""
    address = caller.rpartition("<")[2]
    found = _USER.match(address.strip())
    user = found[1].strip() if found is not None else ""
    if re.fullmatch(r"\+?[\d().\s-]{3,}", user):
        user = re.sub(r"\D", "", user)
    if not user:
        return None
    return hmac.new(salt, user.lower().encode(), hashlib.sha256).hexdigest()[:HASH_LETTERS]
