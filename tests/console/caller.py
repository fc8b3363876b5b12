"""A telephone that calls a gateway while a test looks at the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from agent.bench_gateway import GatewayProcess
from agent.bench_rtp import RtpEnd
from agent.bench_sip import SipPeer, sdp
from tests.signals import tone

RATE_HZ = 8000
NUMBER = "+15550123"


@contextmanager
def talking(gateway: GatewayProcess, turns: int = 3) -> Iterator[SipPeer]:
    """A call in which the caller waits for the greeting, then says a second at a time, and pauses."""
    said = [np.zeros(int(1.4 * RATE_HZ), np.float32)]
    for number in range(turns):
        said += [
            tone(300 + 40 * number, 1.0, RATE_HZ, amplitude=0.3),
            np.zeros(int(2.2 * RATE_HZ), np.float32),
        ]
    with SipPeer(gateway.address, caller=NUMBER) as peer, closing(RtpEnd()) as end:
        answer = peer.call(sdp(end.port))
        end.start((gateway.address[0], answer.media_port))
        end.play(np.concatenate(said))
        yield peer
