"""Digest authentication of callers (RFC 3261 section 22, RFC 7616, RFC 8760): SHA-256, and MD5 for old ones.

An unknown user and a wrong secret are told the same, after the same work. Nonces are our own seal over their
time: none is stored until it has been used. No I/O here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

NONCE_LIFE_S: Final = 60.0
MAX_USED_NONCES: Final = 10_000
MAX_HEADER: Final = 4096  # letters
_HASHES: Final = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}  # in the order in which we offer them
_FIELD = re.compile(r'\s*([A-Za-z-]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))\s*(?:,|$)')


class Verdict(Enum):
    """What credentials are worth."""

    PROVED = auto()
    STALE = auto()  # right, but the nonce is old, was used before, or is not ours
    NOT_PROVED = auto()  # missing, malformed, an unknown user or a wrong secret


@dataclass(frozen=True, slots=True)
class Response:
    """The fields of an Authorization header that count."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str  # "SHA-256" or "MD5"
    qop: str
    nc: str
    cnonce: str


def parse_response(header: str) -> Response | None:
    """Understand an Authorization header's value; None if it is no digest that we could have asked for."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest" or len(header) > MAX_HEADER:
        return None
    fields: dict[str, str] = {}
    place = 0
    while place < len(rest):
        match = _FIELD.match(rest, place)
        if match is None or match[1].lower() in fields:
            return None
        quoted, bare = match[2], match[3]
        fields[match[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
        place = match.end()
    algorithm = fields.get("algorithm", "MD5").upper()
    if algorithm not in _HASHES or not {"username", "realm", "nonce", "uri", "response"} <= fields.keys():
        return None
    return Response(
        fields["username"],
        fields["realm"],
        fields["nonce"],
        fields["uri"],
        fields["response"].lower(),
        algorithm,
        fields.get("qop", "").lower(),
        fields.get("nc", "").lower(),
        fields.get("cnonce", ""),
    )


def expected_response(given: Response, method: str, password: str) -> str:
    """What the response must be (RFC 7616 section 3.4.1), in hexadecimal."""

    def digest(*parts: str) -> str:
        return _HASHES[given.algorithm](":".join(parts).encode("utf-8", "replace")).hexdigest()

    secret = digest(given.username, given.realm, password)
    asked = digest(method, given.uri)
    return digest(secret, given.nonce, given.nc, given.cnonce, given.qop, asked)


class DigestGuard:
    """Asks callers for a proof and judges it. One for all trunks: a nonce is sealed for its realm."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self._used: OrderedDict[str, int] = OrderedDict()  # nonce -> the highest count seen with it
        self._nobody = secrets.token_hex(16)  # the secret of users that do not exist

    def challenges(self, realm: str, now_s: float, *, is_stale: bool = False) -> tuple[str, ...]:
        """Values for one WWW-Authenticate header each, the stronger algorithm first."""
        nonce = self._nonce(realm, f"{int(now_s):x}.{secrets.token_hex(8)}")
        stale = ", stale=true" if is_stale else ""
        return tuple(
            f'Digest realm="{realm}", nonce="{nonce}", algorithm={name}, qop="auth"{stale}'
            for name in _HASHES
        )

    def judge(
        self, header: str, method: str, called_uri: str, users: Mapping[str, str], realm: str, now_s: float
    ) -> Verdict:
        """Judge an Authorization header's value against secrets by user. `called_uri` is the Request-URI."""
        given = parse_response(header)
        if (
            given is None
            or given.qop != "auth"
            or given.realm != realm
            or not _same_place(given.uri, called_uri)
        ):
            return Verdict.NOT_PROVED
        password = users.get(given.username)
        wanted = expected_response(given, method, self._nobody if password is None else password)
        is_right = hmac.compare_digest(wanted, given.response.encode("ascii", "replace").decode())
        age_s = self._age_s(given.nonce, realm, now_s)
        if not is_right or password is None:
            return Verdict.NOT_PROVED
        # Another gateway's nonce, or one from before our start, is merely old (RFC 7616 section 3.3).
        if age_s is None or not 0 <= age_s <= NONCE_LIFE_S or not self._counts(given):
            return Verdict.STALE
        return Verdict.PROVED

    def _nonce(self, realm: str, body: str) -> str:
        seal = hmac.new(self._key, f"{realm}|{body}".encode(), hashlib.sha256).hexdigest()[:32]
        return f"{body}.{seal}"

    def _age_s(self, nonce: str, realm: str, now_s: float) -> float | None:
        """How old a nonce of ours is; None if it is not ours."""
        body, _, _ = nonce.rpartition(".")
        if not hmac.compare_digest(self._nonce(realm, body).encode(), nonce.encode("utf-8", "replace")):
            return None
        return int(now_s) - int(body.partition(".")[0], 16)

    def _counts(self, given: Response) -> bool:
        """Whether this use of the nonce is a new one; noted if it is."""
        if not re.fullmatch(r"[0-9a-f]{8}", given.nc):
            return False
        count = int(given.nc, 16)
        if count <= self._used.get(given.nonce, 0):
            return False
        self._used[given.nonce] = count
        self._used.move_to_end(given.nonce)
        if len(self._used) > MAX_USED_NONCES:
            self._used.popitem(last=False)
        return True


def _same_place(given: str, called: str) -> bool:
    """Whether both URIs name one user; hosts may differ behind a proxy."""

    def user(uri: str) -> str:
        return uri.partition(":")[2].partition("@")[0].partition(";")[0]

    return user(given) == user(called)
