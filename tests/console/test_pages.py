"""Every page of the console, as a supervisor uses it, with real calls behind it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from agent.bench_gateway import GatewayProcess
from tests.console.browser import PHONE, Complaints, desk, go, ink, sign_in
from tests.console.caller import talking

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]
REJECT = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException"
NAME = "(one) => one.getAttribute('aria-label') ?? one.textContent.trim()"
PAGES = ("live", "call", "recordings", "health")


def eventually(is_true: Callable[[], bool], within_s: float = 8.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.fixture(scope="module")
def recorded(gateway: GatewayProcess) -> str:
    """The id of a recording that is there: a call of two turns."""
    with talking(gateway, turns=2) as peer:
        time.sleep(6.5)
        peer.hang_up()
    gateway.wait_until_idle()
    (found,) = json.loads(gateway.get("/v1/recordings"))["recordings"][:1]
    return str(found["id"])


def test_the_printed_link_opens_the_console_once(page: Page, gateway: GatewayProcess) -> None:
    found = re.search(r"console: (\S+#code=\S+)", gateway.log)
    assert found is not None, gateway.log
    page.goto(found[1])
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert "code" not in page.url and page.evaluate("document.cookie") == ""
    assert "code" not in page.evaluate("localStorage.length ? JSON.stringify(localStorage) : ''")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(found[1])
    expect(page.get_by_role("alert")).to_contain_text("has been used")


def test_a_wrong_key_is_told_and_a_right_one_opens(page: Page, gateway: GatewayProcess) -> None:
    page.goto(gateway.url)
    page.get_by_label("API key").fill("offhook_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("API key").fill(gateway.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Live")).to_be_visible()


def test_whoever_is_not_signed_in_gets_no_data(page: Page, gateway: GatewayProcess) -> None:
    page.goto(gateway.url)
    statuses = page.evaluate(
        """paths => Promise.all(paths.map((path) => fetch(path).then((answer) => answer.status)))""",
        ["/v1/calls", "/v1/recordings", "/v1/console/session", "/metrics", "/nowhere"],
    )
    assert statuses == [401] * 5
    refused = page.evaluate(
        """new Promise((done) => {
          const socket = new WebSocket(`ws://${location.host}/v1/console/events`);
          socket.onopen = () => done("opened");
          socket.onclose = () => done("refused");
        })"""
    )
    assert refused == "refused"


def test_a_sip_call_is_watched_from_the_list_to_its_recording(page: Page, gateway: GatewayProcess) -> None:
    complaints = Complaints(page)
    sign_in(page, gateway)
    expect(page.get_by_role("heading", name="The line is quiet")).to_be_visible()
    with talking(gateway, turns=4):
        row = page.locator(".row")
        expect(row).to_have_count(1)
        expect(row.locator(".tag")).to_have_text("SIP")
        expect(row.locator(".said.agent")).to_contain_text("la", timeout=15_000)
        expect(row.locator(".gap")).to_contain_text("ms", timeout=15_000)
        first = ink(page, ".row canvas")
        assert first["caller"] > 50 and first["agent"] > 50, first
        expect(page.locator(".numbers dd").nth(1)).to_contain_text("1 of 3")
        row.click()
        expect(page.get_by_role("heading", name="Live")).to_have_count(0)
        expect(page.locator(".line.agent p").first).to_contain_text("la")
        expect(page.locator(".line.caller p").first).to_be_visible()
        eventually(lambda: ink(page, "canvas.trace.large")["agent"] > 200)
        page.get_by_label("Let the agent say").fill("four five")
        page.get_by_role("button", name="Say", exact=True).click()
        expect(page.locator("#toasts")).to_contain_text("says it next")
        page.get_by_role("button", name="Hang up").click()
        expect(page.get_by_text("The call is over: ended by operator.")).to_be_visible()
    page.get_by_role("link", name="Open the recording").click()
    expect(page.locator("canvas.wave")).to_be_visible()
    expect(page.locator(".outcome").first).to_have_text("Ended by operator")
    assert complaints.texts == []


def test_one_recording_is_drawn_and_plays_and_everything_follows(
    page: Page, gateway: GatewayProcess, recorded: str
) -> None:
    complaints = Complaints(page)
    sign_in(page, gateway, f"recordings/{recorded}")
    page.wait_for_selector("canvas.wave")
    eventually(lambda: min(ink(page, "canvas.wave")[side] for side in ("caller", "agent")) > 500)
    expect(page.locator(".events li").first).to_be_visible()
    expect(page.locator(".words .line.agent").first).to_contain_text("la")
    page.get_by_role("button", name="Play").click()
    eventually(lambda: page.evaluate("document.querySelector('main audio').currentTime") > 0.5)
    expect(page.locator(".word.now")).to_have_count(1)
    moved = page.eval_on_selector(".playhead", "head => new DOMMatrix(getComputedStyle(head).transform).m41")
    assert moved > 20
    page.get_by_role("button", name="Pause").click()
    page.locator("#wave").focus()
    page.keyboard.press("End")
    eventually(lambda: int(page.locator("#wave").get_attribute("aria-valuenow") or 0) > 5)
    page.keyboard.press("Home")
    expect(page.locator("#wave")).to_have_attribute("aria-valuetext", "0:00.0")
    with page.expect_download() as download:
        page.get_by_role("link", name="Audio").click()
    assert download.value.suggested_filename == f"{recorded}.flac"
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    sidecar = json.loads(download.value.path().read_text())
    assert sidecar["transport"] == "sip" and sidecar["caller_hash"]
    assert complaints.texts == []


def test_recordings_are_found_by_number_and_otherwise_the_page_says_so(
    page: Page, gateway: GatewayProcess, recorded: str
) -> None:
    sign_in(page, gateway, "recordings")
    page.wait_for_selector(".recordings li")
    count = page.locator(".recordings li").count()
    assert count >= 1
    page.get_by_label("Number").fill("+1 555 9999")
    expect(page.get_by_role("heading", name="No recording like that")).to_be_visible()
    page.get_by_label("Number").fill("+1 (555) 01-23")
    expect(page.locator(".recordings li")).to_have_count(count)
    page.get_by_label("At least").select_option("300")
    expect(page.get_by_role("heading", name="No recording like that")).to_be_visible()
    page.get_by_label("At least").select_option("")
    page.locator("select[name=transport]").select_option("sip")
    page.locator(f'.recordings a[href$="{recorded}"]').click()
    expect(page.locator("canvas.wave")).to_be_visible()
    go(page, "recordings/20200101T000000Z-00000000")
    expect(page.get_by_role("heading", name="There is no such recording")).to_be_visible()


def test_health_shows_workers_redis_trunks_and_the_way_to_grafana(
    page: Page, gateway: GatewayProcess
) -> None:
    sign_in(page, gateway, "health")
    expect(page.locator(".verdict")).to_contain_text("Ready for calls")
    worker = page.locator(".worker")
    expect(worker).to_have_count(1)
    expect(worker).to_contain_text("of 3 slots in use")
    expect(page.locator(".facts").nth(1)).to_contain_text("Connected")
    expect(page.locator(".facts").nth(2)).to_contain_text(f"sip:order@127.0.0.1:{gateway.sip_port}")
    expect(page.get_by_role("link", name="Open Grafana")).to_have_attribute("href", "http://127.0.0.1:3000")


def test_a_refused_microphone_is_explained(silent_page: Page, gateway: GatewayProcess) -> None:
    sign_in(silent_page, gateway, "call")
    silent_page.locator("#dial").click()
    expect(silent_page.get_by_role("alert")).to_contain_text("The microphone is blocked")
    expect(silent_page.get_by_role("alert")).to_contain_text("allow the microphone")
    expect(silent_page.locator("#dial")).to_contain_text("Try again")


def test_a_microphone_that_is_not_there_is_explained(page: Page, gateway: GatewayProcess) -> None:
    sign_in(page, gateway, "call")
    for fault, told in (
        (f"{REJECT}('', 'NotFoundError'))", "No microphone was found"),
        (f"{REJECT}('', 'NotReadableError'))", "in use"),
        ("Object.defineProperty(window, 'isSecureContext', {value: false})", "needs a secure address"),
    ):
        page.evaluate(f"() => {{ {fault}; }}")
        page.locator("#dial").click()
        expect(page.get_by_role("alert")).to_contain_text(told)


def test_everything_is_reached_by_keyboard(page: Page, gateway: GatewayProcess, recorded: str) -> None:
    sign_in(page, gateway, "recordings")
    page.wait_for_selector(".recordings li")
    page.reload()
    page.wait_for_selector(".recordings li")
    names = []
    for _ in range(8):
        page.keyboard.press("Tab")
        names.append(page.evaluate(f"({NAME})(document.activeElement)"))
    assert names[:6] == ["Skip to the content", "Offhook, live calls", "Live", "Call", "Recordings", "Health"]
    assert names[6] in ("Dark theme", "Light theme") and names[7] == "Sign out"
    page.locator(".recordings a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#wave")
    page.locator("#wave").focus()
    page.keyboard.press(" ")
    eventually(lambda: not page.evaluate("document.querySelector('main audio').paused"))
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('main audio').paused")
    nameless = page.evaluate(
        f"""[...document.querySelectorAll("button, a, input, select")]
          .filter((one) => one.offsetParent && !({NAME})(one) && !one.labels?.length)
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_a_phone_screen_needs_no_sideways_scrolling_and_nothing_is_complained_of(
    browser: Browser, gateway: GatewayProcess, recorded: str
) -> None:
    with desk(browser, "dark", PHONE) as context:
        page = context.new_page()
        complaints = Complaints(page)
        sign_in(page, gateway)
        for path in (*PAGES, f"recordings/{recorded}"):
            go(page, path)
            time.sleep(0.3)
            widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert widths[0] <= widths[1], (path, widths)
            small = page.evaluate(
                """[...document.querySelectorAll("nav a, #dial, main button:not(.jump)")].filter((one) =>
                  one.offsetParent && one.getBoundingClientRect().height < 32).map((one) => one.outerHTML)"""
            )
            assert small == [] and complaints.texts == [], path


def test_the_theme_is_the_systems_until_it_is_chosen(browser: Browser, gateway: GatewayProcess) -> None:
    with desk(browser, "dark") as context:
        page = context.new_page()
        sign_in(page, gateway)
        paper = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(paper)
        page.get_by_role("button", name="Light theme").click()
        assert page.evaluate(paper) != dark
        page.reload()
        page.wait_for_selector("#tabs a")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_when_the_session_ends_the_page_asks_to_sign_in_again(page: Page, gateway: GatewayProcess) -> None:
    sign_in(page, gateway)
    page.context.clear_cookies()
    go_to = "location.hash = '#/recordings'"
    page.evaluate(go_to)
    expect(page.get_by_role("alert")).to_contain_text("Your session is over")
