"""Logs: one line per event, context bound, persons left out."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from agent import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    sinks, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = sinks, level


def test_the_ice_library_may_not_log_addresses() -> None:
    out = io.StringIO()
    logs.configure("json", "info", stream=out)
    logging.getLogger("aioice.ice").info("Check 192.0.2.7")
    logging.getLogger("aiortc.rtcdtlstransport").info("peer 192.0.2.7")
    assert out.getvalue() == ""


def test_json_lines_carry_event_level_time_and_context() -> None:
    out = io.StringIO()
    logs.configure("json", "info", stream=out)
    with structlog.contextvars.bound_contextvars(call_id="c1"):
        structlog.get_logger("agent.x").info("call_confirmed", codec="PCMU")
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call_confirmed",
        "level": "info",
        "logger": "agent.x",
        "codec": "PCMU",
        "call_id": "c1",
    }


def test_libraries_log_the_same_way() -> None:
    out = io.StringIO()
    logs.configure("json", "warning", stream=out)
    logging.getLogger("some.package").info("not wanted")
    logging.getLogger("some.package").warning("went %s", "wrong")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["went wrong"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_shows_where_it_was_and_not_what_was_there(log_format: logs.LogFormat) -> None:
    def fail(number: int) -> None:
        caller = f"+4930{number}"
        raise ValueError("no caller was meant") if caller else AssertionError

    out = io.StringIO()
    logs.configure(log_format, "info", stream=out)
    try:
        fail(7_654_321)
    except ValueError:
        structlog.get_logger("agent.x").exception("call_failed")
    assert "test_logs.py" in out.getvalue() and "no caller was meant" in out.getvalue()
    assert "+49307654321" not in out.getvalue() and "locals" not in out.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("show_pii", [False, True])
def test_persons_are_left_out_unless_asked_for(log_format: logs.LogFormat, show_pii: bool) -> None:
    out = io.StringIO()
    logs.configure(log_format, "info", show_pii=show_pii, stream=out)
    structlog.get_logger().info(
        "heard", pii_words="my card is 4111", turn={"pii_number": "+15550100", "n": 7}, codec="PCMA"
    )
    text = out.getvalue()
    assert "PCMA" in text and "7" in text
    assert ("4111" in text) is show_pii
    assert ("5550100" in text) is show_pii


def test_what_is_below_the_level_costs_no_line() -> None:
    out = io.StringIO()
    logs.configure("console", "warning", stream=out)
    structlog.get_logger().info("chatter")
    assert out.getvalue() == ""


def test_an_exception_is_told_with_its_traceback() -> None:
    out = io.StringIO()
    logs.configure("json", "info", stream=out)
    try:
        raise ValueError("of ours")
    except ValueError:
        structlog.get_logger().exception("broke")
    assert "ValueError: of ours" in json.loads(out.getvalue())["exception"]


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("sip:+15550100@pbx.example", "sip:***00@pbx.example"),
        ('"Ann Smith" <sip:ann.smith@192.0.2.1:5060;transport=udp>;tag=1', "sip:***th@192.0.2.1:5060"),
        ("tel:+15550100", "tel:***00"),
        ("+15550100", "***00"),
        ("sip:ann@pbx", "sip:***@pbx"),
        ("sip:192.0.2.1", "sip:***.1"),
        ("", "***"),
    ],
)
def test_addresses_are_masked(address: str, masked: str) -> None:
    assert logs.mask_address(address) == masked
