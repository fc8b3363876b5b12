"""Errors name the cause and the remedy, and all share one base."""

import inspect

import pytest

from telephony import errors
from telephony.errors import AddressTaken, BadUri, CallRefused, SettingsError, TelephonyError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_stands_in_the_drawn_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, TelephonyError)
    assert kind.__name__ in (errors.__doc__ or "")


def test_a_taken_address_says_where_and_how_to_look() -> None:
    error = AddressTaken("127.0.0.1", 5060, "udp")
    assert "UDP port 5060 on 127.0.0.1" in str(error)
    assert "ss -lnp" in str(error)


def test_a_bad_uri_shows_a_good_one() -> None:
    assert "sip:order@127.0.0.1:5060" in str(BadUri("order", "it has no scheme"))


def test_a_refused_call_says_when_to_call_again() -> None:
    error = CallRefused(503, "Service Unavailable", 5)
    assert "503 Service Unavailable" in str(error)
    assert "in 5 s" in str(error)
    assert "called again" not in str(CallRefused(486, "Busy Here"))


def test_a_settings_error_is_a_value_error_so_that_settings_readers_report_it() -> None:
    assert issubclass(SettingsError, ValueError)
