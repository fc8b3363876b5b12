"""Digest against the RFC's own vectors; what is wrong looks the same; what was used is used."""

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.digest import NONCE_LIFE_S, DigestGuard, Verdict, expected_response, parse_response

# RFC 7616 section 3.9.1.
RFC = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{}", opaque="x"'
)
URI = "sip:order@192.0.2.1:5060"
USERS = {"anna": "secret"}


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_responses_are_those_of_the_rfc(algorithm: str, response: str) -> None:
    given = parse_response(RFC.format(algorithm, response))
    assert given is not None and given.response == response
    assert expected_response(given, "GET", "Circle of Life") == response


def proof(
    challenge: str, *, user: str = "anna", password: str = "secret", nc: str = "00000001", uri: str = URI
) -> str:
    """What a caller answers to a challenge, made without the code under test."""
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    kind = hashlib.sha256 if fields["algorithm"] == "SHA-256" else hashlib.md5

    def digest(text: str) -> str:
        return kind(text.encode()).hexdigest()

    secret = digest(f"{user}:{fields['realm']}:{password}")
    response = digest(f"{secret}:{fields['nonce']}:{nc}:abc:auth:{digest(f'INVITE:{uri}')}")
    return (
        f'Digest username="{user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm={fields["algorithm"]}, cnonce="abc", qop=auth, nc={nc}'
    )


def judged(guard: DigestGuard, header: str, now_s: float = 1000.0, uri: str = URI) -> Verdict:
    return guard.judge(header, "INVITE", uri, USERS, "offhook", now_s)


@pytest.mark.parametrize("place", [0, 1])
def test_a_right_answer_counts_once_with_either_algorithm(place: int) -> None:
    guard = DigestGuard()
    challenge = guard.challenges("offhook", 1000.0)[place]
    assert ("SHA-256", "MD5")[place] in challenge
    assert judged(guard, proof(challenge)) is Verdict.PROVED
    assert judged(guard, proof(challenge)) is Verdict.STALE, "a replay"
    assert judged(guard, proof(challenge, nc="00000002")) is Verdict.PROVED
    assert judged(guard, proof(challenge, nc="00000002")) is Verdict.STALE


def test_an_unknown_user_and_a_wrong_secret_get_the_same() -> None:
    guard = DigestGuard()
    challenge = guard.challenges("offhook", 1000.0)[0]
    assert judged(guard, proof(challenge, user="eve")) is Verdict.NOT_PROVED
    assert judged(guard, proof(challenge, password="guess")) is Verdict.NOT_PROVED
    assert judged(guard, "") is Verdict.NOT_PROVED


def test_old_foreign_and_misdirected_answers_do_not_count() -> None:
    guard = DigestGuard()
    challenge = guard.challenges("offhook", 1000.0)[0]
    assert judged(guard, proof(challenge), 1001.0 + NONCE_LIFE_S) is Verdict.STALE
    assert "stale=true" in guard.challenges("offhook", 1.0, is_stale=True)[0]
    assert judged(DigestGuard(), proof(challenge)) is Verdict.STALE, "another gateway's, or an earlier one"
    assert judged(DigestGuard(), proof(challenge, password="guess")) is Verdict.NOT_PROVED
    assert judged(DigestGuard(), proof(challenge, user="eve")) is Verdict.NOT_PROVED
    assert judged(guard, proof(challenge), uri="sip:premium@192.0.2.1") is Verdict.NOT_PROVED
    assert judged(guard, proof(guard.challenges("other", 1000.0)[0])) is Verdict.NOT_PROVED
    assert judged(guard, proof(challenge).replace("qop=auth, ", "")) is Verdict.NOT_PROVED
    assert judged(guard, proof(challenge).replace("nc=00000001", "nc=1")) is Verdict.NOT_PROVED


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.text(max_size=200), st.text(max_size=100).map(lambda text: f'Digest username="{text}", x='))
)
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert judged(DigestGuard(), text) is Verdict.NOT_PROVED
    assert (
        judged(DigestGuard(), proof(DigestGuard().challenges("offhook", 1.0)[0]) + text) is not Verdict.PROVED
    )
