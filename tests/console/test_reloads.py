"""A page that goes away in the middle of its call: the call ends at once, and nothing of it is left."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from agent.bench_gateway import GatewayProcess
from tests.console.browser import sign_in

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(180)]

NUM_RELOADS = 20
AT_ONCE_S = 3.0  # far below `call.media_timeout_s`, by which a caller who is silent is given up


def talk(page: Page) -> None:
    """Press the button and wait until the call is there."""
    page.locator("#dial").click()
    expect(page.locator("#dial")).to_contain_text("Hang up", timeout=15_000)


def test_reloads_in_the_middle_of_calls_leave_nothing(page: Page, gateway: GatewayProcess) -> None:
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?": yes
    sign_in(page, gateway, "call")
    talk(page)
    page.reload()  # what a gateway opens once and keeps is open now
    gateway.wait_until_idle(AT_ONCE_S)
    before = gateway.metric("offhook_calls_total")
    num_files = gateway.num_open_files
    for _ in range(NUM_RELOADS):  # many more than there are slots
        talk(page)
        page.reload()
    gateway.wait_until_idle(AT_ONCE_S)
    page.goto("about:blank")
    assert gateway.metric("offhook_calls_total") == before + NUM_RELOADS
    assert gateway.num_open_files <= num_files
