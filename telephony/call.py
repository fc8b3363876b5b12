"""The life of one call as a table (RFC 3261 section 13); pjsip's names. No I/O here."""

from enum import StrEnum

from telephony.errors import IllegalTransition


class CallState(StrEnum):
    """Where an INVITE dialog stands, as in `pjsip_inv_state`; CONNECTING is folded into CONFIRMED."""

    NULL = "null"
    CALLING = "calling"
    INCOMING = "incoming"
    EARLY = "early"
    CONFIRMED = "confirmed"
    DISCONNECTED = "disconnected"


class CallEvent(StrEnum):
    """What can happen to a call's state."""

    INVITE_SENT = "invite_sent"
    INVITE_RECEIVED = "invite_received"
    PROGRESS = "progress"  # any 1xx but 100
    ANSWERED = "answered"  # 2xx
    ENDED = "ended"  # final failure, CANCEL, BYE, or the transport is gone


S, E = CallState, CallEvent
TRANSITIONS: dict[CallState, dict[CallEvent, CallState]] = {
    S.NULL: {E.INVITE_SENT: S.CALLING, E.INVITE_RECEIVED: S.INCOMING, E.ENDED: S.DISCONNECTED},
    S.CALLING: {E.PROGRESS: S.EARLY, E.ANSWERED: S.CONFIRMED, E.ENDED: S.DISCONNECTED},
    S.INCOMING: {E.PROGRESS: S.EARLY, E.ANSWERED: S.CONFIRMED, E.ENDED: S.DISCONNECTED},
    S.EARLY: {E.PROGRESS: S.EARLY, E.ANSWERED: S.CONFIRMED, E.ENDED: S.DISCONNECTED},
    S.CONFIRMED: {E.ENDED: S.DISCONNECTED},
    S.DISCONNECTED: {E.ENDED: S.DISCONNECTED},  # both sides may hang up at once
}


class Call:
    """One call's state; events move it along the table's edges."""

    def __init__(self) -> None:
        self.state = CallState.NULL

    def apply(self, event: CallEvent) -> CallState:
        """Follow the edge and return the new state.

        Raises IllegalTransition, changing nothing, if the table has none.
        """
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise IllegalTransition(f"a call that is {self.state.value} cannot take the event {event.value}")
        self.state = after
        return after
