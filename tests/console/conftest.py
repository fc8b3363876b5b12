"""One gateway with the stand-in engine, and one browser, for all tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from agent.bench_gateway import GatewayProcess
from tests.console.browser import chromium, desk


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that records."""
    settings = {
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_WORKER__SLOTS": "3",
        "OFFHOOK_RECORDING__FOLDER": str(tmp_path_factory.mktemp("calls")),
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
        "OFFHOOK_HTTP__GRAFANA_URL": "http://127.0.0.1:3000",
        "OFFHOOK_HTTP__REQUESTS_PER_S": "500",  # one peer is every test here
    }
    with GatewayProcess(settings) as running:
        yield running


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright; its event loop ends with this package, so that other tests may have their own."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """A browser whose microphone beeps."""
    with chromium(playwright) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh window of it."""
    with desk(browser) as context:
        yield context.new_page()


@pytest.fixture
def silent_page(browser: Browser) -> Iterator[Page]:
    """A fresh window that may not use the microphone."""
    with desk(browser, may_listen=False) as context:
        yield context.new_page()
