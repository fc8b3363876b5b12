// Every live call: a moving trace of both sides, what is said, how the line is.

import { emptyState, h, setClass, setText } from "./dom.js";
import { caller, duration, gap, gapTone, isFailure, moment, outcome, plural } from "./format.js";
import { lastWords } from "./lines.js";
import { ageS, listed } from "./state.js";
import { unwatch, watch } from "./trace.js";

const HOLDERS = { nobody: "Quiet", caller: "Caller speaks", agent: "Agent speaks", both: "Both speak" };

export function holderOf(call) {
  if (call.state === "held") return "On hold";
  return call.asking ? "Waits for an answer" : HOLDERS[call.holder] ?? "";
}

export function liveView(root, { state, session, can }) {
  const rows = new Map(); // id -> its elements
  const numbers = h("dl", { class: "numbers" });
  const find = h("input", { type: "search", placeholder: "Find a call", "aria-label": "Find a call" });
  const list = h("ul", { class: "calls", "aria-label": "Live calls" });
  const blank = h("div", {});
  const ended = h("section", { class: "ended" });
  const head = h("div", { class: "head" }, h("h1", {}, "Live"), find);
  root.append(head, numbers, blank, list, ended);
  find.addEventListener("input", arrange);
  let isShown = false;

  function arrange() {
    const calls = listed(state, find.value);
    const wanted = new Set(calls.map((call) => call.id));
    for (const [id, row] of rows) {
      if (wanted.has(id)) continue;
      unwatch(row.canvas);
      row.element.remove();
      rows.delete(id);
    }
    calls.forEach((call, index) => {
      const row = rows.get(call.id) ?? addRow(call.id);
      if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
      fill(row, call);
    });
    showBlank(calls.length);
    find.hidden = state.calls.size < 6 && !find.value;
    setClass(list, "many", calls.length > 12);
  }

  function addRow(id) {
    const parts = {
      who: h("span", { class: "who" }),
      kind: h("span", { class: "tag" }),
      age: h("span", { class: "age" }),
      holder: h("span", { class: "holder" }),
      gap: h("span", { class: "gap" }),
      caller: h("span", { class: "said caller" }),
      agent: h("span", { class: "said agent" }),
      canvas: h("canvas", { class: "trace", "aria-hidden": "true" }),
    };
    parts.element = h(
      "li", {},
      h("a", { class: "row", href: `#/live/${id}` },
        h("span", { class: "ident" }, h("span", { class: "top" }, parts.who, parts.kind), parts.age),
        parts.canvas,
        h("span", { class: "words" }, parts.caller, parts.agent),
        h("span", { class: "status" }, parts.holder, parts.gap),
      ),
    );
    rows.set(id, parts);
    watch(parts.canvas, () => state.calls.get(id)?.trace);
    return parts;
  }

  function fill(row, call) {
    setText(row.who, caller(call.caller, call.transport));
    setText(row.kind, call.transport === "webrtc" ? "Browser" : "SIP");
    setText(row.age, duration(ageS(state, call)));
    setText(row.holder, holderOf(call));
    row.holder.dataset.holder = call.state === "held" ? "held" : call.holder;
    setText(row.gap, call.gap_s === null ? "no turn yet" : `gap ${gap(call.gap_s)}`);
    row.gap.dataset.tone = gapTone(call.gap_s);
    if (row.numWords !== call.numWords) {
      row.numWords = call.numWords;
      setText(row.caller, lastWords(call.words, "caller"));
      setText(row.agent, lastWords(call.words, "agent"));
    }
  }

  function showBlank(numShown) {
    list.hidden = numShown === 0;
    if (numShown) blank.replaceChildren();
    else if (!state.isLoaded) blank.replaceChildren(h("p", { class: "loading" }, "Loading the live calls …"));
    else if (state.calls.size) blank.replaceChildren(emptyState("search", "No call like that", "Clear the search to see all."));
    else if (!blank.firstChild || !isShown) {
      const actions = can("calls:create") ? [h("a", { class: "button primary", href: "#/call" }, "Call the agent")] : [];
      const text = "A call appears here the moment it is answered, from a telephone or from a browser.";
      blank.replaceChildren(emptyState("live", "The line is quiet", text, ...actions));
    }
    isShown = state.isLoaded;
  }

  function showNumbers() {
    const gateway = state.gateway;
    if (!gateway) return;
    const ready = gateway.workers.filter((worker) => worker.is_ready).length;
    const share = gateway.num_slots ? gateway.num_used / gateway.num_slots : 0;
    const values = [
      ["Calls", String(state.calls.size), ""],
      ["Slots", `${gateway.num_used} of ${gateway.num_slots}`, share >= 1 ? "slow" : ""],
      ["Workers", `${ready} of ${gateway.workers.length} ready`, ready < gateway.workers.length ? "slow" : ""],
      ["Redis", gateway.is_redis_up ? "Connected" : "Away", gateway.is_redis_up ? "" : "slow"],
    ];
    if (!numbers.children.length) {
      for (const [name] of values) numbers.append(h("div", {}, h("dt", {}, name), h("dd", {})));
      numbers.children[1].append(h("span", { class: "meter" }, h("span", {})));
    }
    values.forEach(([, value, tone], index) => {
      const shown = numbers.children[index].querySelector("dd");
      setText(shown, value);
      shown.dataset.tone = tone;
    });
    numbers.querySelector(".meter span").style.transform = `scaleX(${Math.min(1, share)})`;
  }

  function showEnded() {
    const last = [...state.ended].reverse().slice(0, 8);
    if (!last.length) return;
    const canOpen = can("recordings:read") && session.recordings;
    ended.replaceChildren(
      h("h2", {}, "Just ended"),
      h("ul", { class: "past" }, last.map((call) => {
        const length = call.ended_at_ms ? (call.ended_at_ms - call.started_at_ms) / 1000 : 0;
        const parts = [
          h("span", { class: "who" }, caller(call.caller, call.transport)),
          h("span", { class: "quiet" }, moment(call.started_at_ms)),
          h("span", { class: "quiet" }, `${duration(length)}, ${plural(call.turns, "turn")}`),
          h("span", { class: isFailure(call.outcome) ? "outcome bad" : "outcome" }, outcome(call.outcome)),
        ];
        const isLinked = canOpen && call.recording;
        return h("li", {}, isLinked ? h("a", { href: `#/recordings/${call.recording}` }, parts) : h("div", {}, parts));
      })),
    );
  }

  const clock = setInterval(() => {
    for (const [id, row] of rows) {
      const call = state.calls.get(id);
      if (call) setText(row.age, duration(ageS(state, call)));
    }
  }, 1000);
  arrange();
  showNumbers();
  showEnded();
  return {
    update(touched) {
      if (touched.list || find.value) arrange();
      else for (const id of touched.calls) if (rows.has(id)) fill(rows.get(id), state.calls.get(id));
      if (touched.list) showEnded();
      showNumbers();
    },
    leave() {
      clearInterval(clock);
      for (const row of rows.values()) unwatch(row.canvas);
    },
  };
}
