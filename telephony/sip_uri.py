"""SIP addresses that we are willing to call or to refer somebody to (RFC 3261 section 19.1). No I/O here."""

import re
from urllib.parse import unquote

from telephony.errors import BadUri

_MAX_CHARACTERS = 255  # PJSIP's own limit
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_PATTERN = re.compile(
    r"(?P<scheme>[A-Za-z]+):(?:(?P<user>[^@\s<>\"]+)@)?"
    rf"(?P<host>{_HOST})(?::(?P<port>\d{{1,5}}))?(?P<parameters>(?:;[^\s<>\"?]+)*)"
)
_CALLED = re.compile(r"(?:sips?|tel):(?:(?P<user>[^@>\s]+)@)?(?P<rest>[^;>\s]*)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[-.() ]")  # RFC 3966's visual ones
_NUMBER = re.compile(r"\+?[0-9]+")


def checked_uri(text: str) -> str:
    """The text itself if it is one SIP address without display name, headers and line breaks; else BadUri."""
    if len(text) > _MAX_CHARACTERS:
        raise BadUri(text[:40] + "...", f"it is longer than {_MAX_CHARACTERS} characters")
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise BadUri(text, "it is not of the form sip:user@host:port;parameters")
    if match["scheme"].lower() != "sip":
        raise BadUri(text, f"the scheme {match['scheme']!r} is not sip")
    if match["port"] and not 0 < int(match["port"]) <= 65_535:
        raise BadUri(text, f"{match['port']} is not a port number")
    return text


def called_user(uri: str) -> str:
    """Whom a Request-URI names: its user or number, without separators and parameters; "" without one."""
    match = _CALLED.search(uri)
    if match is None:
        return ""
    user = match["user"] if match["user"] is not None else match["rest"]
    if match["user"] is None and not uri.lower().lstrip("<").startswith("tel:"):
        return ""
    plain = unquote(user).partition(";")[0]
    number = _SEPARATORS.sub("", plain)
    return number if _NUMBER.fullmatch(number) else plain
