"""The page's logic, module by module, as Chromium runs it: state, formats, lines, outlines, queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from agent.bench_gateway import GatewayProcess
from agent.errors import EndReason
from agent.floor import FloorEventKind
from tests.console.browser import desk

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def run(browser: Browser, gateway: GatewayProcess) -> Iterator[Any]:
    """Evaluate an expression in which `m` is one of the console's modules, and `a` an argument."""
    with desk(browser) as context:
        page = context.new_page()
        page.goto(gateway.url)

        def evaluate(module: str, expression: str, argument: object = None) -> Any:
            source = (
                f"async (a) => {{ const m = await import('/console/{module}.js'); return {expression}; }}"
            )
            return page.evaluate(source, argument)

        yield evaluate


def test_formats_read_as_people_say_them(run: Any) -> None:
    for expression, wanted in {
        "m.duration(65.9)": "1:05",
        "m.duration(3723)": "1:02:03",
        "m.duration(-1)": "0:00",
        "m.place(7.25)": "0:07.2",
        "m.place(0.3)": "0:00.3",
        "m.gap(0.42)": "420 ms",
        "m.gap(-0.08)": "\N{MINUS SIGN}80 ms",
        "m.gap(1.5)": "1.5 s",
        "m.gap(null)": "\N{EN DASH}",
        "[0.5, 0.51, 0.81, null].map(m.gapTone).join()": "good,fair,slow,none",
        "m.outcome('caller_hung_up')": "Caller hung up",
        "m.outcome(null)": "Unfinished",
        "m.outcome('new_reason')": "new reason",
        "m.isFailure('worker_lost') && !m.isFailure('transferred')": True,
        "m.caller('sip:***00@192.0.2.7', 'sip')": "***00",
        "m.caller('tel:+15550100', 'sip')": "+15550100",
        "m.caller('webrtc:***', 'webrtc')": "Browser",
        "m.caller('', 'sip')": "Unknown caller",
        "m.caller('sip:***@192.0.2.7', 'sip')": "Hidden number",
        "m.plural(1, 'turn') + m.plural(2, 'turn')": "1 turn2 turns",
        "m.loudness(-90) + m.loudness(0) + m.loudness(-33)": 1.5,
        "m.moment(Date.now(), Date.now(), 'en-GB').startsWith('Today, ')": True,
        "m.moment(Date.now() - 864e5, Date.now(), 'en-GB').startsWith('Yesterday, ')": True,
        "m.moment(+new Date(2026, 0, 2, 3, 4), +new Date(2026, 5, 1), 'en-GB')": "2 Jan 2026, 03:04",
    }.items():
        assert run("format", expression) == wanted, expression


def test_every_end_of_a_call_has_words_of_its_own(run: Any) -> None:
    named = run("format", "m.OUTCOME_NAMES")
    assert {reason.value for reason in EndReason} <= set(named)
    for kind in FloorEventKind:
        assert run("format", "m.eventName(a)", kind.value)[0].isupper()


SNAPSHOT = {
    "type": "snapshot", "at_ms": 5000, "gateway": {"num_slots": 2}, "ended": [],
    "calls": [
        {
            "id": "b", "caller": "sip:b", "started_at_ms": 2000, "worker": "w0", "transport": "sip",
            "levels": [[-20, -30], [-90, -90]],
        },
        {
            "id": "a", "caller": "sip:a", "started_at_ms": 1000, "worker": "w0", "transport": "webrtc",
            "words": [["agent", "hello", 0.1, 0.4]],
        },
    ],
}  # fmt: skip
FOLLOW = """(() => {
  const s = m.newState();
  const touched = a.map((message, index) => m.apply(s, message, 100 * (index + 1), 4000));
  return {
    touched, ids: m.listed(s).map((call) => call.id), found: m.listed(s, 'HELLO').map((call) => call.id),
    b: ((b) => b && {holder: b.holder, total: b.trace.total, last: [...b.trace.caller.slice(-4)],
      words: b.words, at: b.trace.at})(s.calls.get('b')),
    age: s.calls.get('a') && m.ageS(s, s.calls.get('a'), 6000),
    ended: s.ended, gateway: s.gateway, isLoaded: s.isLoaded,
  };
})()"""


def test_the_state_follows_the_messages(run: Any) -> None:
    changes = [
        {
            "type": "change",
            "at_ms": 5250,
            "calls": [
                {"id": "b", "holder": "caller", "levels": [[-10], [-40]], "words": [["caller", "hi", 1, 2]]}
            ],
        },
        {"type": "change", "at_ms": 5000, "calls": [{"id": "c", "caller": "sip:c", "started_at_ms": 3000}]},
    ]
    found = run("state", FOLLOW, [SNAPSHOT, *changes])
    assert found["ids"] == ["a", "b", "c"] and found["found"] == ["a"]
    assert found["b"] == {
        "holder": "caller",
        "total": 3,
        "last": [-90, -20, -30, -10],
        "words": [["caller", "hi", 1, 2]],
        "at": 200,
    }
    assert [one["list"] for one in found["touched"]] == [True, False, True]
    assert found["age"] == 6.0  # the gateway's clock is a second ahead of ours
    assert found["gateway"] == {"num_slots": 2} and found["isLoaded"]


def test_a_snapshot_after_a_break_replaces_what_was_known(run: Any) -> None:
    gone = {"type": "change", "at_ms": 1, "gone": ["a"], "ended": [{"id": "a"}]}
    found = run("state", FOLLOW, [SNAPSHOT, gone])
    assert found["ids"] == ["b"] and found["ended"] == [{"id": "a"}]
    later = {
        **SNAPSHOT,
        "calls": [{"id": "b", "caller": "sip:b", "started_at_ms": 2000, "levels": [[-5], [-5]]}],
    }
    found = run("state", FOLLOW, [SNAPSHOT, later])
    assert found["ids"] == ["b"] and found["touched"][1]["gone"] == ["a"]
    assert found["b"]["total"] == 1 and found["b"]["words"] == []  # nothing is counted twice


def test_levels_longer_than_what_is_kept_leave_the_newest(run: Any) -> None:
    expression = """(() => {
      const t = new m.Levels();
      t.push([a, a], 7);
      return [t.total, t.caller[0], t.caller[159], t.at];
    })()"""
    assert run("state", expression, [-(n % 80) for n in range(200)]) == [200, -40, -39, 7]


def test_words_become_lines_in_the_order_they_began(run: Any) -> None:
    words = [
        ("agent", "what", 0.0, 0.2), ("agent", "can", 0.3, 0.5), ("caller", "a", 0.9, 1.0),
        ("agent", "I", 1.2, 1.3), ("caller", "latte", 1.6, 2.0), ("agent", "sure", 3.0, 3.4),
    ]  # fmt: skip
    rows = [{"speaker": s, "text": t, "start_s": b, "end_s": e} for s, t, b, e in words]
    lines = run(
        "lines", "m.dialogueOf(a).map((line) => [line.speaker, line.text, line.start, line.end])", rows
    )
    assert lines == [
        ["agent", "what can I", 0, 1.3],
        ["caller", "a latte", 0.9, 2],
        ["agent", "sure", 3, 3.4],
    ]


def test_fragments_are_joined_as_they_are_spaced(run: Any) -> None:
    expression = """(() => {
      const d = new m.Dialogue();
      for (const [text, at] of a) d.add("agent", text, at, at + 0.1, true);
      return d.lines.map((line) => line.text);
    })()"""
    assert run(
        "lines", expression, [[" cap", 0], ["puc", 0.1], ["cino", 0.2], [" please", 0.3], [" bye", 2]]
    ) == [
        "cappuccino please",
        "bye",
    ]


def test_a_long_dialogue_keeps_its_end(run: Any) -> None:
    expression = """(() => {
      const d = new m.Dialogue(3);
      for (let n = 0; n < 9; n += 1) d.add("agent", `w${n}`, 5 * n, 5 * n + 1);
      return d.lines.map((line) => line.text);
    })()"""
    assert run("lines", expression) == ["w6", "w7", "w8"]


def test_the_last_words_of_a_side_begin_after_a_pause(run: Any) -> None:
    words = [
        ["caller", "old", 0, 1],
        ["caller", "a", 5, 5.2],
        ["agent", "hm", 5.1, 5.3],
        ["caller", "latte", 5.4, 5.9],
    ]
    assert run("lines", "m.lastWords(a, 'caller')", words) == "a latte"
    assert run("lines", "m.lastWords(a, 'caller', 1)", words) == "latte"
    assert run("lines", "m.lastWords([], 'agent')") == ""


def test_columns_hold_the_extremes_of_what_they_cover(run: Any) -> None:
    peaks = [0, 0, -127, 10, 0, 127, -5, 5]  # four stretches of a second each
    assert run("waveform", "m.columns(a, 4, 0, 4, 2)", peaks) == [[-1, 10 / 127], [-5 / 127, 1]]
    assert run("waveform", "m.columns(a, 4, 1, 2, 1)", peaks) == [[-1, 10 / 127]]
    assert len(run("waveform", "m.columns(a, 4, 0, 4, 1000)", peaks)) == 1000
    assert run("waveform", "[m.reach(a, []), m.reach([0, 1], [])]", peaks) == [1, pytest.approx(0.1)]


def test_marks_are_the_overlaps_and_the_gaps(run: Any) -> None:
    events = [
        {"kind": "overlap", "at_s": 1, "value_s": 0.5}, {"kind": "response", "at_s": 3, "value_s": 0.4},
        {"kind": "response", "at_s": 9, "value_s": -0.1}, {"kind": "backchannel", "at_s": 5, "value_s": 0.3},
    ]  # fmt: skip
    found = run("waveform", "m.marks({events: a})", events)
    assert found["overlaps"] == [{"start": 1, "end": 1.5}]
    assert found["gaps"] == [{"start": 3, "end": 3.4, "value": 0.4}, {"start": 9, "end": 9, "value": -0.1}]
    assert run("waveform", "m.marks(undefined)") == {"overlaps": [], "gaps": []}


def test_the_word_that_is_heard(run: Any) -> None:
    words = [{"start_s": 1}, {"start_s": 2}, {"start_s": 2}, {"start_s": 5}]
    assert run("waveform", "[0, 1, 2, 4.9, 9].map((t) => m.wordAt(a, t))", words) == [-1, 0, 2, 2, 3]
    assert run("waveform", "m.wordAt([], 1)") == -1


def test_a_ruler_has_round_steps(run: Any) -> None:
    assert run("waveform", "m.ticks(0, 50, 10)") == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert run("waveform", "m.ticks(3.2, 4, 5)") == [3.2, 3.4, 3.6, 3.8, 4]
    assert len(run("waveform", "m.ticks(0, 36000, 12)")) <= 12


def test_a_search_form_becomes_a_query(run: Any) -> None:
    values = {
        "from": "2026-01-02",
        "to": "2026-01-02",
        "outcome": "",
        "caller": "+1 555",
        "min": "60",
        "transport": "sip",
    }
    query = run("view_recordings", "Object.fromEntries(new URLSearchParams(m.query(a, 'x')))", values)
    day_ms = int(query.pop("to")) - int(query.pop("from"))
    assert day_ms == 86_400_000
    assert query == {"transport": "sip", "caller": "+1 555", "min_s": "60", "cursor": "x"}
    assert run("view_recordings", "m.query({from: '', min: ''})") == ""


def test_a_calls_states_follow_each_other_and_each_failure_says_what_to_do(run: Any) -> None:
    following = run("call_media", "m.NEXT")
    assert all(set(after) <= set(following) for after in following.values())
    for name, kind in {
        "NotAllowedError": "refused",
        "NotFoundError": "absent",
        "NotReadableError": "busy",
        "TypeError": "server",
    }.items():
        assert run("call_media", "m.failureOf({name: a}).kind", name) == kind
    for kind, told in run("call_media", "m.FAILURES").items():
        assert told["title"] and (told["text"] or kind == "server"), kind


CONTRAST = """(theme) => {
  document.documentElement.dataset.theme = theme;
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(`--${name}`).trim();
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
    const [r, g, b] = parts.map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const inks = ["ink", "soft", "faint", "caller-ink", "agent", "good", "fair", "slow", "accent"];
  const found = inks.flatMap((ink) => ["paper", "surface"].map((under) => [ink, under, ratio(ink, under)]));
  return [...found, ["accent-ink", "accent", ratio("accent-ink", "accent")]];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_ink_can_be_read_on_every_ground(page: Page, gateway: GatewayProcess, theme: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: at least 4.5 to 1."""
    page.goto(gateway.url)
    weak = [found for found in page.evaluate(CONTRAST, theme) if found[2] < 4.5]
    assert weak == []


def test_a_feed_that_is_begun_anew_is_one_feed(run: Any) -> None:
    made, heard = run(
        "feed",
        """await (async () => {
          const made = [], heard = [], real = window.WebSocket;
          window.WebSocket = class { constructor() { made.push(this); } close() {} };
          const feed = new m.Feed((message) => heard.push(message), () => {});
          feed.start();
          feed.stop();
          feed.start();
          made[0].onmessage({data: '"late"'});  // the old socket's last words come after the new one is there
          made[0].onclose();
          made[1].onmessage({data: '"new"'});
          await new Promise((done) => setTimeout(done, 700));
          feed.stop();
          window.WebSocket = real;
          return [made.length, heard];
        })()""",
    )
    assert (made, heard) == (2, ["new"])
