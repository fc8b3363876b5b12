import pytest

from agent.torture import CASES, Case, Place, request

PLACE = Place("127.0.0.1", 5070, "127.0.0.2", 5060, user="busy")


def test_there_is_one_message_for_each_case_of_the_rfc() -> None:
    assert len({case.name for case in CASES}) == len(CASES) == 49


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_built_anew_each_time_and_says_what_may_follow(case: Case) -> None:
    first, second = case.build(PLACE), case.build(PLACE)
    assert first != second, "the same Call-ID twice would be a retransmission"
    assert b"\r\n\r\n" in first and len(first) < 8192
    assert case.answers


def test_a_plain_request_is_one_that_nothing_is_wrong_with() -> None:
    text = request(PLACE, "INVITE", body=PLACE.offer).decode()
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("INVITE sip:busy@127.0.0.2:5060 SIP/2.0\r\n")
    assert f"Content-Length: {len(body)}" in head and "Content-Type: application/sdp" in head
