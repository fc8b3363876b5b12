"""A page that goes away in the middle of its call: the call ends at once, and nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from agent.bench_gateway import GatewayProcess
from tests.console.browser import desk, sign_in
from tests.console.test_pages import eventually

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(180)]

NUM_RELOADS = 20
AT_ONCE_S = 3.0  # far below `call.media_timeout_s`, by which a caller who is silent is given up


@pytest.fixture(scope="module")
def line() -> Iterator[GatewayProcess]:
    """A gateway that nobody else calls."""
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": "2",
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
        "OFFHOOK_HTTP__REQUESTS_PER_S": "500",
    }
    with GatewayProcess(settings) as running:
        yield running


def reload_in_calls(browser: Browser, line: GatewayProcess, count: int) -> None:
    """Reload the page in the middle of so many calls, and close the browser."""
    with desk(browser) as context:
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?": yes
        sign_in(page, line, "call")
        for number in range(count):  # many more than there are slots
            page.locator("#dial").click()
            expect(page.locator("#dial")).to_contain_text("Hang up", timeout=15_000)
            page.reload()
            if number % 2:  # one may linger in a slot while the other is dialled from, two leave none
                line.wait_until_idle(AT_ONCE_S)
        line.wait_until_idle(AT_ONCE_S)


def test_reloads_in_the_middle_of_calls_leave_nothing(browser: Browser, line: GatewayProcess) -> None:
    reload_in_calls(browser, line, 1)
    num_files = line.num_open_files  # what is opened once and kept is open now
    before = line.metric("offhook_calls_total")
    reload_in_calls(browser, line, NUM_RELOADS)
    assert line.metric("offhook_calls_total") == before + NUM_RELOADS
    eventually(lambda: line.num_open_files <= num_files)
    assert 'result="operator_hung_up",transport="webrtc"} 0.0' in line.get("/metrics")  # it was the caller
