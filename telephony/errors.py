"""Everything `telephony` raises on purpose; each message names the cause and the remedy.

TelephonyError
├── SettingsError      operator: a setting that cannot work (a ValueError too: settings readers report it)
├── AddressTaken       operator: another program listens where we should
├── BadUri             user: not a SIP address we can call
├── BadOffer           far side: an SDP offer that we cannot serve
├── OfferRefused       us: a WebRTC call that we do not take, with the status to tell
├── CallRefused        far side: our call was answered with a final failure
├── CallEnded          far side or us: something was asked of a call that is over
├── MalformedPacket    far side: bytes that are not the RTP or SIP they should be; drop, count, go on
└── IllegalTransition  us: a call event that the state table does not have
"""


class TelephonyError(Exception):
    """Base of every error of this package."""


class SettingsError(TelephonyError, ValueError):
    """A setting that cannot work; the text says which, why, and what would."""


class AddressTaken(TelephonyError):
    """A socket that we need is held by another program."""

    def __init__(self, address: str, port: int, transport: str) -> None:
        super().__init__(
            f"{transport.upper()} port {port} on {address} is taken by another program; "
            f"stop it (see `ss -lnp 'sport = :{port}'`) or choose another SIP port"
        )
        self.address, self.port, self.transport = address, port, transport


class BadUri(TelephonyError, ValueError):
    """A text that is not a SIP address that we can call."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is not a SIP address: {reason}; write it like sip:order@127.0.0.1:5060")


class BadOffer(TelephonyError, ValueError):
    """An SDP offer that we cannot serve; the text says why and never quotes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the SDP offer cannot be served: {reason}")


class OfferRefused(TelephonyError):
    """We do not take this WebRTC call; the status is HTTP's."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


class CallRefused(TelephonyError):
    """The far side answered our call with a final status other than 2xx."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        again = f"; it asks to be called again in {retry_after_s} s" if retry_after_s is not None else ""
        super().__init__(f"the far side refused the call: {status} {reason}{again}")
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


class CallEnded(TelephonyError):
    """Something was asked of a call that is over."""


class MalformedPacket(TelephonyError):
    """Bytes from the network that are not the RTP or SIP they should be; the text never quotes them."""


class IllegalTransition(TelephonyError):
    """A call event that has no edge in the state table; the call keeps its state."""
