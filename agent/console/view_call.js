// The big button: talk to the agent from this browser.

import { BrowserCall, FAILURES } from "./call_media.js";
import { Captions } from "./captions.js";
import { h, icon, setClass, setIcon, setText } from "./dom.js";
import { duration } from "./format.js";

const SHOWN = {
  idle: ["Call", "Talk with the agent through this computer's microphone."],
  asking: ["Cancel", "Allow the microphone in your browser …"],
  connecting: ["Cancel", "Calling …"],
  talking: ["Hang up", "Connected"],
  ending: ["Hang up", "Ending the call …"],
  ended: ["Call again", "The call is over."],
  failed: ["Try again", ""],
};
const REASONS = {
  you: "You hung up.",
  close_requested: "The other side ended the call.",
  connection_lost: "The connection was lost.",
  expired: "The time limit was reached.",
  content: "The gateway ended the call.",
};
const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];

export function callView(root) {
  const sink = h("audio", { autoplay: true, class: "sink", id: "heard" });
  const captions = new Captions({
    names: { caller: "You", agent: "Agent" },
    blank: "What you and the agent say appears here.",
  });
  const label = h("span", { class: "label" });
  const button = h("button", { class: "dial", type: "button", id: "dial" }, h("span", { class: "rings" }), icon("call"), label);
  const status = h("p", { class: "call-status", role: "status" });
  const timer = h("span", { class: "timer" });
  const mute = h("button", { class: "icon round", type: "button", "aria-pressed": "false", id: "mute" });
  const pad = h("button", { class: "icon round", type: "button", "aria-expanded": "false", "aria-controls": "pad", id: "keypad" });
  const keys = h("div", { class: "pad", id: "pad", hidden: true, role: "group", "aria-label": "Keypad" });
  const pressed = h("output", { class: "pressed", "aria-label": "Pressed" });
  const tools = h("div", { class: "call-tools", hidden: true }, mute, timer, pad);
  const help = h("div", { class: "card notice bad", hidden: true, role: "alert" });
  const stage = h("section", { class: "stage" }, button, status, tools, keys, help, sink);
  root.append(h("h1", { class: "visually-hidden" }, "Call"), h("div", { class: "call-page" }, stage, captions.element));

  let startedMs = 0;
  let clock = null;
  let meters = null;
  const call = new BrowserCall({
    sink,
    onState: show,
    onCaption: (speaker, text, start, end) => {
      captions.add(speaker, text, start, end, true);
      if (call.state === "talking") setText(status, SHOWN.talking[1]);
    },
    onMuted: showMuted,
  });

  keys.append(pressed, ...KEYS.map((digit) =>
    h("button", { type: "button", onclick: () => press(digit), "aria-label": `Press ${digit}` }, digit)));
  button.addEventListener("click", () => {
    if (["idle", "ended", "failed"].includes(call.state)) {
      captions.clear();
      call.start();
    } else call.hangUp();
  });
  mute.addEventListener("click", () => call.mute(!call.isMuted));
  pad.addEventListener("click", () => {
    keys.hidden = !keys.hidden;
    pad.setAttribute("aria-expanded", String(!keys.hidden));
  });
  const onKey = (event) => {
    if (call.state !== "talking" || event.target.closest("input, textarea") || event.ctrlKey || event.metaKey) return;
    if (KEYS.includes(event.key)) press(event.key);
    else if (event.key.toLowerCase() === "m") call.mute(!call.isMuted);
  };
  document.addEventListener("keydown", onKey);

  function press(digit) {
    if (!call.canPress) {
      setText(pressed, "This connection carries no keys");
      return;
    }
    call.press(digit);
    setText(pressed, `${pressed.dataset.digits ?? ""}${digit}`.slice(-18));
    pressed.dataset.digits = pressed.textContent;
  }

  function showMuted(isMuted) {
    setIcon(mute, isMuted ? "muted" : "mute", isMuted ? "Unmute the microphone" : "Mute the microphone");
    mute.setAttribute("aria-pressed", String(isMuted));
    setClass(stage, "is-muted", isMuted);
  }

  function show(state, detail) {
    stage.dataset.state = state;
    setText(label, SHOWN[state][0]);
    setText(status, state === "ended" ? REASONS[detail] ?? SHOWN.ended[1] : SHOWN[state][1]);
    button.querySelector(".glyph").replaceWith(icon(["asking", "connecting", "talking", "ending"].includes(state) ? "hangup" : "call"));
    button.disabled = state === "ending";
    help.hidden = state !== "failed";
    if (state === "failed") showFailure(detail);
    tools.hidden = state !== "talking";
    if (state === "talking") begin();
    else if (clock) finish();
    if (state !== "talking") {
      keys.hidden = true;
      pad.setAttribute("aria-expanded", "false");
      setText(pressed, "");
      pressed.dataset.digits = "";
    }
  }

  function showFailure({ kind, detail }) {
    const { title, text } = FAILURES[kind];
    const parts = [h("h2", {}, icon("alert"), title), h("p", {}, text || detail)];
    if (kind === "server" && text) parts.push(h("p", { class: "quiet" }, detail));
    help.replaceChildren(...parts);
    setText(status, "");
  }

  function begin() {
    startedMs = performance.now();
    const tell = () => setText(timer, duration((performance.now() - startedMs) / 1000));
    tell();
    clock = setInterval(tell, 500);
    meters = new Meters(button, { mine: call.microphone, theirs: call.remote });
    if (!captions.shown.size) setText(status, "Connected. Say hello.");
  }

  function finish() {
    clearInterval(clock);
    clock = null;
    meters?.stop();
    meters = null;
  }

  const onLeave = (event) => {
    if (call.state === "talking") event.preventDefault();
  };
  const onHide = () => call.leave(); // also into the cache of pages, from which it may come back: then it is over
  window.addEventListener("beforeunload", onLeave);
  window.addEventListener("pagehide", onHide);
  setIcon(pad, "keypad", "Keypad");
  showMuted(false);
  show("idle");
  return {
    leave() {
      document.removeEventListener("keydown", onKey);
      window.removeEventListener("beforeunload", onLeave);
      window.removeEventListener("pagehide", onHide);
      finish();
      call.leave();
    },
  };
}

// Rings around the button that follow the two levels.
class Meters {
  constructor(button, streams) {
    this.audio = new AudioContext();
    this.button = button;
    this.readers = Object.entries(streams).filter(([, stream]) => stream).map(([name, stream]) => {
      const analyser = this.audio.createAnalyser();
      analyser.fftSize = 512;
      this.audio.createMediaStreamSource(stream).connect(analyser);
      return { name, analyser, samples: new Float32Array(512), level: 0 };
    });
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    for (const reader of this.readers) {
      reader.analyser.getFloatTimeDomainData(reader.samples);
      const power = reader.samples.reduce((sum, sample) => sum + sample * sample, 0) / reader.samples.length;
      const level = Math.min(1, Math.sqrt(power) * 5);
      reader.level = Math.max(level, reader.level * 0.88);
      this.button.style.setProperty(`--${reader.name}`, reader.level.toFixed(3));
    }
    this.frame = requestAnimationFrame(() => this.draw());
  }

  stop() {
    cancelAnimationFrame(this.frame);
    for (const { name } of this.readers) this.button.style.removeProperty(`--${name}`);
    this.audio.close();
  }
}
