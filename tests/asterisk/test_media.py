"""What the library's log tells of handshakes and refreshes."""

from tests.asterisk.media import keys, refreshes
from tests.asterisk.report import Verdict

HANDSHAKES = """\
23:59:59.900     dtls0x7f36f4ac0b30 !DTLS-SRTP RTP channel negotiation initiated as server
23:59:59.901     dtls0x7f36f4ac0b30  DTLS-SRTP RTCP channel negotiation initiated as server
00:00:00.020     srtp0x7f36f4abf390 !SRTP started, keying=DTLS-SRTP, crypto=AES_CM_128_HMAC_SHA1_80
00:00:07.100     dtls0x7f36f4aff0f0  DTLS-SRTP RTP channel negotiation initiated as client
00:00:07.100     srtp0x7f36f4aff0f0  SRTP started, keying=SDES, crypto=AES_CM_128_HMAC_SHA1_80
"""
UPDATES = """\
21:00:45.1  pjsua_core.c  .TX 500 bytes Request msg UPDATE/cseq=7 (tdta0x1) to UDP 127.0.0.1:5060:
21:00:45.9  pjsua_core.c  .TX 500 bytes Request msg UPDATE/cseq=7 (tdta0x1) to UDP 127.0.0.1:5060:
21:00:46.0  pjsua_core.c  .RX 500 bytes Request msg UPDATE/cseq=9 (rdata0x1) from UDP 127.0.0.1:5060:
21:00:46.0  pjsua_core.c  .RX 500 bytes Response msg 200/UPDATE/cseq=7 (rdata0x1) from UDP 127.0.0.1:5060:
"""


def test_keys_are_awaited_from_the_begin_of_each_handshake() -> None:
    verdict = Verdict("dtls", [True])
    keys(HANDSHAKES, verdict)
    assert verdict.facts == {"keys after": "120 ms, 0 ms"} and verdict.is_right
    keys(HANDSHAKES.replace("00:00:07.100     srtp", "00:00:07.350     srtp"), verdict)
    assert verdict.faults == ["a handshake is slow"]
    verdict = Verdict("dtls", [True])
    keys(HANDSHAKES.partition("00:00:07")[0], verdict)
    assert verdict.faults == ["1 of 2 handshakes seen"]


def test_a_refresh_that_is_sent_twice_is_one() -> None:
    verdict = Verdict("timer", [True])
    refreshes(2)(UPDATES, verdict)
    assert verdict.facts == {"UPDATEs": "1 sent, 1 received"} and verdict.is_right
    refreshes(3)(UPDATES, verdict)
    assert verdict.faults == ["2 of 3 refreshes"]
