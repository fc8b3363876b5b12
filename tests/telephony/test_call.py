"""The call table is total: each of the 6 x 5 pairs has its answer."""

from itertools import product

import pytest

from telephony.call import TRANSITIONS, Call, CallEvent, CallState
from telephony.errors import IllegalTransition

N, C, I_, E, K, D = CallState
SENT, RECEIVED, PROGRESS, ANSWERED, ENDED = CallEvent
LEGAL = {
    (N, SENT): C, (N, RECEIVED): I_, (N, ENDED): D,
    (C, PROGRESS): E, (C, ANSWERED): K, (C, ENDED): D,
    (I_, PROGRESS): E, (I_, ANSWERED): K, (I_, ENDED): D,
    (E, PROGRESS): E, (E, ANSWERED): K, (E, ENDED): D,
    (K, ENDED): D,
    (D, ENDED): D,
}  # fmt: skip


@pytest.mark.parametrize(("state", "event"), list(product(CallState, CallEvent)))
def test_each_pair_moves_or_is_refused(state: CallState, event: CallEvent) -> None:
    call = Call()
    call.state = state
    if (state, event) in LEGAL:
        assert call.apply(event) is call.state is LEGAL[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} cannot take the event {event.value}"):
            call.apply(event)
        assert call.state is state


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(CallState)


def test_every_state_can_end() -> None:
    assert all(row[CallEvent.ENDED] is CallState.DISCONNECTED for row in TRANSITIONS.values())
