"""What an operator may say of one trunk: who may call by it, how we sign in there, how calls are protected.

Pure values, checked once; the file they stand in is read by the agent (`agent.dial_plan_file`). No I/O here,
but for the secrets that a trunk names by file or variable.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

MAX_TRUNKS = 100  # each takes two of the native library's 256 accounts
MAX_SECRET_BYTES = 4096
# A host and a port; what else a SIP URI may hold is the trunk's to say.
_SERVER = re.compile(
    r"(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?"
)
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # RFC 3261 section 25.1
# RFC 3261's own fields steer the call; what a caller writes there is no attribute to pass on.
_UNPASSABLE = frozenset(
    "via from to call-id cseq contact max-forwards route record-route content-length content-type "
    "authorization proxy-authorization www-authenticate proxy-authenticate".split()
)


def _secret(value: object, info: ValidationInfo) -> object:
    """A secret's text, from where the file says it is; the file itself never holds one."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, Mapping) or len(value) != 1 or not {"file", "env"}.issuperset(value):
        raise ValueError("a secret does not stand in this file; write {file: /path} or {env: NAME}")
    ((kind, place),) = value.items()
    if kind == "env":
        environ = (info.context or {}).get("environ", {})
        if not (text := environ.get(place, "")):
            raise ValueError(
                f"the variable {place} is not set; set it to the secret, or write {{file: /path}}"
            )
        return text
    try:
        with Path(str(place)).open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"the secret's file {place} cannot be read ({cause})") from None
    if not text or len(text) > MAX_SECRET_BYTES:
        raise ValueError(f"the secret's file {place} is empty or longer than {MAX_SECRET_BYTES} bytes")
    return text


def cidr_of(text: str) -> str:
    """A network as the native gate reads it: `192.0.2.7` and netmasks become /32 and a number of bits.

    Raises ValueError for what is no network, or names an interface.
    """
    if "%" in text:
        raise ValueError("an interface cannot be named")
    return str(ipaddress.ip_network(text))


def _network(text: str) -> str:
    try:
        return cidr_of(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network ({error}); write 192.0.2.0/24 or 192.0.2.7/32") from None


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if match is None or (match["port"] and not 0 < int(match["port"]) <= 65_535):
        raise ValueError(f"{text!r} is no server; write sip.example.net or sip.example.net:5061")
    return text


def _header(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is no header's name; write it like X-Account")
    if text.lower() in _UNPASSABLE:
        raise ValueError(f"{text} steers the call and cannot be passed on; name headers like X-Account")
    return text.lower()


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IP address; give the one that this trunk reaches us at") from None
    return text


Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Network = Annotated[str, AfterValidator(_network)]
Server = Annotated[str, AfterValidator(_server)]
HeaderName = Annotated[str, AfterValidator(_header)]
Address = Annotated[str, AfterValidator(_address)]
User = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.!~*'()&=+$,;?/%-]{1,128}$")]
SrtpKeying = Literal["sdes", "dtls"]
DtmfWay = Literal["rfc4733", "info", "inband"]


class Part(BaseModel):
    """A piece of the file: frozen, and without any name that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Caller(Part):
    """Somebody who may call when they prove who they are (RFC 7616, RFC 8760)."""

    user: User
    password: Secret


class Credentials(Part):
    """What we prove ourselves with when the trunk asks."""

    user: User
    password: Secret
    realm: str = Field(default="*", min_length=1, max_length=128)  # theirs; *: whichever they ask for


class Registration(Part):
    """That we keep ourselves registered at the trunk's servers (RFC 3261 section 10)."""

    expires_s: int = Field(default=300, ge=60, le=86_400)  # asked for; the registrar may grant less
    retry_s: int = Field(default=10, ge=1, le=3600)  # after every server has failed; doubles with each round
    max_retry_s: int = Field(default=300, ge=1, le=86_400)
    return_s: int = Field(default=600, ge=10, le=86_400)  # after which a better server is tried again


class SessionTimer(Part):
    """RFC 4028: a refresh that tells both ends, and every proxy between, that a call still lives."""

    use: Literal["off", "accept", "ask", "require"] = "accept"  # accept: if the far end wants it
    expires_s: int = Field(default=1800, ge=90, le=86_400)
    min_s: int = Field(default=90, ge=90, le=86_400)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.expires_s < self.min_s:
            raise ValueError(f"expires_s={self.expires_s} is below min_s={self.min_s}; raise expires_s")
        return self


class Trunk(Part):
    """One carrier, PBX or telephone that calls come from and, if allowed, go to."""

    # Who calls by it; the smallest network that holds the source wins.
    peers: tuple[Network, ...] = ()
    transport: Literal["udp", "tcp", "tls"] = "udp"
    servers: tuple[Server, ...] = ()  # where we register and call, best first
    user: User = "offhook"  # whom we are there
    domain: Server | None = None  # of our address there; None: the first server's
    credentials: Credentials | None = None  # ours, when they ask
    registration: Registration | None = None
    callers: tuple[Caller, ...] = ()  # who may call once they have proved it; none: the peers suffice
    realm: str = Field(default="offhook", pattern=r"^[A-Za-z0-9_.-]{1,64}$")  # in which callers prove it
    srtp: Literal["off", "optional", "required"] = "off"
    srtp_keying: tuple[SrtpKeying, ...] = Field(default=("sdes", "dtls"), min_length=1)  # best first
    session_timer: SessionTimer = SessionTimer()
    prack: Literal["off", "optional", "required"] = "optional"
    dtmf: tuple[DtmfWay, ...] = ("rfc4733", "info")  # ways that digits are heard
    headers: tuple[HeaderName, ...] = ()  # of an INVITE, that go on to whom the agent asks
    public_address: Address | None = None  # ours, as the trunk sees it; None: the gateway's
    max_calls: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.registration is not None and not self.servers:
            raise ValueError("registration needs servers to register at; add servers: [sip.example.net]")
        if not self.peers and not self.servers:
            raise ValueError("it has neither peers, who may call, nor servers, where we call; add one")
        names = [one.user for one in self.callers]
        if len(set(names)) < len(names):
            raise ValueError("callers has a user twice; keep one")
        return self

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.srtp != "off" and "sdes" in self.srtp_keying and self.transport != "tls":
            raise ValueError(
                f"SRTP keys by SDES would travel readable over {self.transport}; "
                "set transport: tls, or srtp_keying: [dtls]"
            )
        return self

    @property
    def scheme_host(self) -> str:
        """The host of our address there."""
        return self.domain or (self.servers[0] if self.servers else "offhook.invalid")

    def uri(self, server: str, user: str = "") -> str:
        """A SIP URI at one of the servers, by this trunk's transport."""
        way = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{user + '@' if user else ''}{server}{way}"

    @property
    def secrets_by_user(self) -> dict[str, str]:
        """What callers must prove to know."""
        return {one.user: one.password.get_secret_value() for one in self.callers}

    def passed_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Of an INVITE's headers by lower-case name those that go on; control characters are cut out."""
        return {
            name: re.sub(r"[\x00-\x1f\x7f]", "", headers[name])[:1024]
            for name in self.headers
            if name in headers
        }


Trunks = Annotated[dict[str, Trunk], AfterValidator(lambda trunks: _told_apart(trunks))]
Name = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def _told_apart(trunks: dict[str, Trunk]) -> dict[str, Trunk]:
    """The same, if each has a usable name and no two of them have one network."""
    owners: dict[object, str] = {}
    if len(trunks) > MAX_TRUNKS:
        raise ValueError(f"{len(trunks)} trunks are more than {MAX_TRUNKS}; run another gateway")
    for name, trunk in trunks.items():
        if not Name.fullmatch(name):
            raise ValueError(f"{name!r} is no trunk's name; use a-z, 0-9, - and _, 40 letters at most")
        for text in trunk.peers:
            other = owners.setdefault(ipaddress.ip_network(text), name)
            if other != name:
                raise ValueError(f"{text} is in the peers of {other} and of {name}; keep it in one")
    return trunks


class PeerMap:
    """Which trunk a source address belongs to: the smallest network that holds it."""

    def __init__(self, trunks: Mapping[str, Trunk]) -> None:
        self._networks = sorted(
            ((ipaddress.ip_network(text), name) for name, trunk in trunks.items() for text in trunk.peers),
            key=lambda one: -one[0].prefixlen,
        )

    def trunk_of(self, source: str) -> str | None:
        """The name of the trunk that holds this IP address, None without one or for a text that is none."""
        try:
            address = ipaddress.ip_address(source.strip("[]"))
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)
        held = (name for network, name in self._networks if (mapped or address) in network)
        return next(held, None)


def networks(trunks: Iterable[Trunk]) -> tuple[str, ...]:
    """Every network that any of them lets in, each once."""
    return tuple(dict.fromkeys(text for trunk in trunks for text in trunk.peers))
