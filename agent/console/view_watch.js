// One live call: its trace, its words as they come, and what an operator can do.

import { post } from "./api.js";
import { Captions } from "./captions.js";
import { emptyState, h, icon, setText } from "./dom.js";
import { caller, duration, gap, gapTone, outcome } from "./format.js";
import { ageS } from "./state.js";
import { unwatch, watch } from "./trace.js";
import { holderOf } from "./view_live.js";

export function watchView(root, { state, session, can, toast }, id) {
  const title = h("h1", {});
  const values = {};
  const facts = h("dl", { class: "numbers" });
  for (const name of ["Duration", "Now", "Last gap", "Turns", "Codec", "Worker"]) {
    values[name] = h("dd", {});
    facts.append(h("div", {}, h("dt", {}, name), values[name]));
  }
  const canvas = h("canvas", { class: "trace large", role: "img", "aria-label": "Levels: caller above, agent below" });
  const legend = h("div", { class: "legend" }, h("span", { class: "caller" }, "Caller"), h("span", { class: "agent" }, "Agent"));
  const captions = new Captions();
  const [buttons, controls] = can("calls:control") ? operatorControls(id, toast) : [null, null];
  const body = h("div", { class: "stack" }, facts, h("div", { class: "card" }, legend, canvas), captions.element, controls);
  const back = h("a", { class: "back", href: "#/live" }, icon("back"), "Live");
  root.append(back, h("div", { class: "head" }, title, buttons), body);
  let numShown = 0;
  let isOver = false;
  watch(canvas, () => state.calls.get(id)?.trace);

  function fill() {
    const call = state.calls.get(id);
    if (!call) {
      if (state.isLoaded && !isOver) over();
      return;
    }
    setText(title, `${caller(call.caller, call.transport)}`);
    setText(values.Duration, duration(ageS(state, call)));
    setText(values.Now, holderOf(call));
    setText(values["Last gap"], gap(call.gap_s));
    values["Last gap"].dataset.tone = gapTone(call.gap_s);
    setText(values.Turns, String(call.turns));
    setText(values.Codec, call.codec ?? "–");
    setText(values.Worker, call.worker ?? "–");
    const fresh = Math.min(call.numWords - numShown, call.words.length);
    for (const [speaker, text, start, end] of fresh > 0 ? call.words.slice(-fresh) : []) captions.add(speaker, text, start, end);
    numShown = call.numWords;
  }

  // The call is gone: say how it ended, and lead to its recording.
  function over() {
    isOver = true;
    unwatch(canvas);
    controls?.remove();
    buttons?.remove();
    const record = state.ended.find((one) => one.id === id);
    if (!numShown && !record) {
      root.replaceChildren(back, emptyState("call", "This call is over", "It ended before this page was opened."));
      return;
    }
    setText(values.Now, "Ended");
    const links = record?.recording && session.recordings && can("recordings:read")
      ? [h("a", { class: "button primary", href: `#/recordings/${record.recording}` }, "Open the recording")] : [];
    const note = h("div", { class: "card notice", role: "status" },
      h("p", {}, `The call is over: ${record ? outcome(record.outcome).toLowerCase() : "it has ended"}.`), ...links);
    body.prepend(note);
  }

  const clock = setInterval(fill, 1000);
  fill();
  if (!state.isLoaded) setText(title, "Loading …");
  return {
    update: fill,
    leave() {
      clearInterval(clock);
      unwatch(canvas);
    },
  };
}

function operatorControls(id, toast) {
  const path = `/v1/calls/${encodeURIComponent(id)}`;
  const ask = async (action, body, done) => {
    try {
      await post(`${path}/${action}`, body);
      toast(done);
      return true;
    } catch (error) {
      toast(`${error.message} ${error.remedy ?? ""}`);
      return false;
    }
  };
  const text = h("input", { type: "text", id: "say", maxlength: 2000, placeholder: "We close in five minutes.", required: true });
  const say = h("form", {
    class: "inline",
    onsubmit: async (event) => {
      event.preventDefault();
      if (await ask("say", { text: text.value }, "The agent says it next.")) text.value = "";
    },
  }, h("label", { for: "say" }, "Let the agent say"), text, h("button", { type: "submit" }, "Say"));
  const hush = h("button", { type: "button", onclick: () => ask("silence", { seconds: 10 }, "The agent is silent for 10 s.") }, "Silence for 10 s");
  const end = h("button", { type: "button", class: "danger", onclick: () => ask("hangup", undefined, "The call is ending.") }, "Hang up");
  return [
    h("div", { class: "buttons" }, hush, end),
    h("section", { class: "card operator", "aria-label": "Tell the agent what to say" }, say),
  ];
}
