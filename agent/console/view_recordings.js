// Calls that were recorded: search and pages.

import { get } from "./api.js";
import { emptyState, h } from "./dom.js";
import { OUTCOME_NAMES, duration, gap, gapTone, isFailure, moment, outcome, plural } from "./format.js";

// The form's values as the API's parameters.
export function query(values, cursor = "") {
  const wanted = new URLSearchParams();
  const day = (text) => new Date(`${text}T00:00:00`);
  if (values.from) wanted.set("from", String(day(values.from).getTime()));
  if (values.to) {
    const end = day(values.to);
    end.setDate(end.getDate() + 1); // up to the end of that day
    wanted.set("to", String(end.getTime()));
  }
  for (const name of ["outcome", "transport", "caller"]) if (values[name]) wanted.set(name, values[name]);
  if (values.min) wanted.set("min_s", String(Number(values.min)));
  if (cursor) wanted.set("cursor", cursor);
  return wanted.toString();
}

export function recordingsView(root) {
  const field = (name, label, input) => h("label", { class: "field" }, h("span", {}, label), Object.assign(input, { name }));
  const option = (value, label) => h("option", { value }, label);
  const form = h("form", { class: "filters", role: "search", "aria-label": "Search recordings" },
    field("from", "From", h("input", { type: "date" })),
    field("to", "To", h("input", { type: "date" })),
    field("outcome", "Outcome", h("select", {}, option("", "Any"), OUTCOME_NAMES.map((name) => option(name, outcome(name))))),
    field("transport", "Line", h("select", {}, option("", "Any"), option("sip", "SIP"), option("webrtc", "Browser"))),
    field("min", "At least", h("select", {}, option("", "Any length"), option("10", "10 s"), option("60", "1 min"), option("300", "5 min"))),
    field("caller", "Number", h("input", { type: "search", placeholder: "+1 555 0100", autocomplete: "off" })),
  );
  const results = h("div", { class: "results", "aria-busy": "true" });
  const more = h("button", { type: "button", hidden: true }, "Show older calls");
  root.append(h("div", { class: "head" }, h("h1", {}, "Recordings")), form, results, more);
  let cursor = "";
  let attempt = 0;
  let list = null;

  async function load(isMore) {
    const own = ++attempt;
    results.setAttribute("aria-busy", "true");
    const values = Object.fromEntries(new FormData(form));
    let found;
    try {
      found = await get(`/v1/recordings?${query(values, isMore ? cursor : "")}`);
    } catch (error) {
      if (own === attempt) results.replaceChildren(emptyState("alert", "The recordings cannot be listed", `${error.message} ${error.remedy}`));
      return;
    }
    if (own !== attempt) return;
    if (!isMore) list = null;
    cursor = found.cursor ?? "";
    more.hidden = !found.cursor;
    results.setAttribute("aria-busy", "false");
    if (found.recordings.length) add(found.recordings);
    else if (list === null) results.replaceChildren(nothing(found.enabled, Object.values(values).some(Boolean)));
  }

  function add(recordings) {
    if (list === null) {
      list = h("ul", { class: "past recordings" });
      results.replaceChildren(
        h("div", { class: "columns", "aria-hidden": "true" }, ["When", "Length", "Turns", "Median gap", "Line", "How it ended"].map((name) => h("span", {}, name))),
        list,
      );
    }
    list.append(...recordings.map(row));
  }

  form.addEventListener("input", () => load(false));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => load(true));
  load(false);
}

function row(one) {
  return h("li", {}, h("a", { href: `#/recordings/${one.id}` },
    h("span", { class: "who" }, moment(one.started_at_ms)),
    h("span", { class: "figure" }, duration(one.seconds)),
    h("span", { class: "figure wide" }, plural(one.turns, "turn")),
    h("span", { class: "figure", "data-tone": gapTone(one.gap_median_s) }, gap(one.gap_median_s)),
    h("span", {}, h("span", { class: "tag" }, one.transport === "webrtc" ? "Browser" : "SIP")),
    h("span", { class: isFailure(one.outcome) ? "outcome bad" : "outcome" }, outcome(one.outcome)),
  ));
}

function nothing(isEnabled, isFiltered) {
  if (!isEnabled) {
    return emptyState("recordings", "Calls are not recorded", "Set a folder and restart the gateway:",
      h("pre", {}, "OFFHOOK_RECORDING__FOLDER=calls make run"));
  }
  if (isFiltered) return emptyState("search", "No recording like that", "Widen the search, or clear it.");
  return emptyState("recordings", "No recordings yet", "The next call will be the first.");
}
