"""SIP addresses that we are willing to call or to refer somebody to (RFC 3261 section 19.1). No I/O here."""

import re

from telephony.errors import BadUri

_MAX_CHARACTERS = 255  # PJSIP's own limit
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_PATTERN = re.compile(
    r"(?P<scheme>[A-Za-z]+):(?:(?P<user>[^@\s<>\"]+)@)?"
    rf"(?P<host>{_HOST})(?::(?P<port>\d{{1,5}}))?(?P<parameters>(?:;[^\s<>\"?]+)*)"
)


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
    """The user of a request URI, which names a line: `order` of `sip:order@192.0.2.7;x=y`; "" without one."""
    address = uri.partition(":")[2]
    return address.partition("@")[0].partition(";")[0].partition(":")[0] if "@" in address else ""
