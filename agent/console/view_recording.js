// One recorded call: two channels, words under them, events, and a player that follows.

import { get } from "./api.js";
import { emptyState, h, icon, palette, setClass, setIcon, setText, sharpContext } from "./dom.js";
import { duration, eventName, gap, gapTone, isFailure, moment, outcome, place } from "./format.js";
import { dialogueOf } from "./lines.js";
import { columns, marks, reach, ticks, wordAt } from "./waveform.js";

const STEP_S = 5;
const RULER_PX = 20;
const GAP_PX = 18;
const PIXELS_PER_SECOND = 14; // at the least, so that a long call can be scrolled

export function recordingView(root, { can }, id) {
  const page = new RecordingPage(root, id);
  const back = h("a", { class: "back", href: "#/recordings" }, icon("back"), "Recordings");
  root.append(back, page.element);
  page.load();
  return { leave: () => page.leave(), themeChanged: () => page.draw() };
}

class RecordingPage {
  constructor(root, id) {
    this.base = `/v1/recordings/${encodeURIComponent(id)}`;
    this.id = id;
    this.element = h("div", { class: "stack" }, h("p", { class: "loading" }, "Loading the recording …"));
    this.resized = new ResizeObserver(() => this.draw());
  }

  async load() {
    try {
      const [sidecar, outline] = await Promise.all([get(this.base), get(`${this.base}/waveform`)]);
      this.sidecar = sidecar;
      this.outline = outline;
    } catch (error) {
      if (this.isLeft) return;
      const title = error.status === 404 ? "There is no such recording" : "The recording cannot be opened";
      this.element.replaceChildren(emptyState("alert", title, `${error.message} ${error.remedy ?? ""}`));
      return;
    }
    if (this.isLeft) return; // nothing may begin to load for a page that nobody sees
    this.words = [...(this.sidecar.words ?? [])].sort((one, other) => one.start_s - other.start_s);
    this.marks = marks(this.sidecar.turns);
    this.build();
    this.draw();
    this.follow();
  }

  build() {
    const { recording } = this.sidecar;
    const state = h("span", { class: isFailure(recording.outcome) ? "outcome bad" : "outcome" }, outcome(recording.outcome));
    const downloads = h("div", { class: "buttons" },
      h("a", { class: "button", href: `${this.base}/audio?download=1`, download: "" }, icon("download"), "Audio"),
      h("a", { class: "button", href: this.base, download: `${this.id}.json` }, icon("download"), "JSON"));
    this.element.replaceChildren(
      h("div", { class: "head" }, h("div", {}, h("h1", {}, moment(recording.started_at_ms)), state), downloads),
      this.figures(),
      h("section", { class: "card player", "aria-label": "Recording" }, this.player(), this.waveform()),
      h("div", { class: "two" }, this.transcript(), this.events()),
    );
  }

  figures() {
    const { recording, turns = {}, codec, num_recoveries: recoveries } = this.sidecar;
    const stops = turns.barge_in_stops_s ?? [];
    const rows = [
      ["Length", duration(recording.seconds)],
      ["Turns", String(recording.turns)],
      ["Median gap", gap(recording.gap_median_s), gapTone(recording.gap_median_s)],
      ["Interruptions", String(stops.length + (turns.counts?.barge_in_failed ?? 0))],
      ["Codec", codec ?? "–"],
      ["Consent", recording.consent ? "Given" : "Not noted"],
    ];
    if (recoveries) rows.push(["Recoveries", String(recoveries)]);
    return h("dl", { class: "numbers" }, rows.map(([name, value, tone]) =>
      h("div", {}, h("dt", {}, name), h("dd", { "data-tone": tone ?? "" }, value))));
  }

  player() {
    this.audio = h("audio", { src: `${this.base}/audio`, preload: "metadata" });
    this.button = h("button", { class: "icon round primary", type: "button", id: "play" });
    this.clock = h("span", { class: "timer" });
    this.trouble = h("span", { class: "problem", role: "alert" });
    const speed = h("select", { "aria-label": "Speed" }, [1, 1.25, 1.5, 2, 0.75].map((rate) => h("option", { value: rate }, `${rate}×`)));
    speed.addEventListener("change", () => (this.audio.playbackRate = Number(speed.value)));
    this.button.addEventListener("click", () => this.toggle());
    for (const event of ["play", "pause", "ended"]) this.audio.addEventListener(event, () => this.showState());
    for (const event of ["timeupdate", "seeked"]) this.audio.addEventListener(event, () => this.follow());
    this.audio.addEventListener("error", () => setText(this.trouble, "The browser cannot play this file; download it."));
    this.showState();
    const legend = h("div", { class: "legend" }, h("span", { class: "caller" }, "Caller"), h("span", { class: "agent" }, "Agent"),
      h("span", { class: "overlap" }, "Both"), h("span", { class: "gap" }, "Gap"));
    return h("div", { class: "transport" }, this.button, this.clock, speed, this.trouble, legend, this.audio);
  }

  waveform() {
    this.canvas = h("canvas", { class: "wave" });
    this.head = h("div", { class: "playhead" });
    this.strip = h("div", { class: "strip" }, this.canvas, this.head);
    this.scroller = h("div", {
      class: "scroller", tabindex: "0", role: "slider", id: "wave", "aria-label": "Place in the recording",
      "aria-valuemin": "0", "aria-valuemax": String(Math.round(this.outline.seconds)),
    }, this.strip);
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.strip.addEventListener("pointerdown", (event) => {
      const box = this.strip.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * this.outline.seconds);
    });
    this.strip.style.minWidth = `${Math.min(30_000, this.outline.seconds * PIXELS_PER_SECOND)}px`;
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.resized.observe(this.scroller);
    return this.scroller;
  }

  transcript() {
    this.spans = new Map(); // word -> its element
    const words = new Map(this.words.map((word) => [`${word.speaker} ${word.start_s} ${word.text}`, word]));
    const lines = dialogueOf(this.words).map((line) => {
      const text = h("p", {}, line.words.flatMap((word) => {
        const span = h("span", { class: "word" }, word.text);
        this.spans.set(words.get(`${line.speaker} ${word.start} ${word.text}`), span);
        span.addEventListener("click", () => this.seek(word.start));
        return [span, " "];
      }));
      const jump = h("button", { type: "button", class: "jump", onclick: () => this.seek(line.start) }, place(line.start));
      return h("li", { class: `line ${line.speaker}` }, h("header", {}, h("span", { class: "name" }, line.speaker === "agent" ? "Agent" : "Caller"), jump), text);
    });
    const blank = h("p", { class: "quiet" }, "No words were recognised.");
    return h("section", { class: "card words", "aria-label": "Words" }, h("h2", {}, "Words"), lines.length ? h("ol", { class: "dialogue" }, lines) : blank);
  }

  events() {
    const events = [...(this.sidecar.turns?.events ?? [])].sort((one, other) => one.at_s - other.at_s);
    const rows = events.map((event) => h("li", {}, h("button", { type: "button", class: "jump", onclick: () => this.seek(event.at_s) }, place(event.at_s)),
      h("span", {}, eventName(event.kind)),
      h("span", { class: "figure", "data-tone": event.kind === "response" ? gapTone(event.value_s) : "" }, event.value_s ? gap(event.value_s) : "")));
    const digits = (this.sidecar.dtmf ?? []).length;
    const note = digits ? h("p", { class: "quiet" }, `${digits} keys were pressed; the JSON has them.`) : null;
    const blank = h("p", { class: "quiet" }, "Nothing was measured in this call.");
    return h("section", { class: "card happened", "aria-label": "Turns and events" }, h("h2", {}, "Turns and events"), rows.length ? h("ol", { class: "events" }, rows) : blank, note);
  }

  toggle() {
    if (this.audio.paused) this.audio.play().catch(() => {});
    else this.audio.pause();
  }

  seek(seconds) {
    this.audio.currentTime = Math.min(this.outline.seconds, Math.max(0, seconds));
    this.follow();
  }

  key(event) {
    const steps = { ArrowLeft: -STEP_S, ArrowRight: STEP_S, Home: -Infinity, End: Infinity };
    if (event.key === " ") this.toggle();
    else if (event.key in steps) this.seek(this.audio.currentTime + steps[event.key]);
    else return;
    event.preventDefault();
  }

  showState() {
    const isPlaying = !this.audio.paused;
    setIcon(this.button, isPlaying ? "pause" : "play", isPlaying ? "Pause" : "Play");
    if (isPlaying && !this.frame) this.animate();
  }

  animate() {
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.follow();
      if (!this.audio.paused) this.animate();
    });
  }

  // Put playhead, clock and marked word where the sound is.
  follow() {
    if (!this.strip) return;
    const seconds = this.audio.currentTime;
    const total = this.outline.seconds;
    setText(this.clock, `${place(seconds)} / ${place(total)}`);
    this.scroller.setAttribute("aria-valuenow", String(Math.round(seconds)));
    this.scroller.setAttribute("aria-valuetext", place(seconds));
    const x = (seconds / Math.max(total, 0.001)) * this.strip.clientWidth;
    this.head.style.transform = `translateX(${x}px)`;
    if (!this.audio.paused) this.keepInSight(x);
    const index = wordAt(this.words, seconds + 0.02);
    const word = index >= 0 && seconds > 0 ? this.words[index] : null;
    if (word !== this.marked) {
      if (this.marked) setClass(this.spans.get(this.marked), "now", false);
      const span = word && this.spans.get(word);
      if (span) setClass(span, "now", true);
      this.marked = span ? word : null;
    }
  }

  keepInSight(x) {
    const { scrollLeft, clientWidth } = this.scroller;
    if (x < scrollLeft || x > scrollLeft + clientWidth - 40) this.scroller.scrollLeft = x - clientWidth / 4;
  }

  // Only what is in sight is drawn, however long the call.
  draw() {
    if (!this.strip?.isConnected || !this.strip.clientWidth) return;
    const width = this.scroller.clientWidth;
    const full = this.strip.clientWidth;
    const left = this.scroller.scrollLeft;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.left = `${left}px`;
    const context = sharpContext(this.canvas);
    if (context === null) return;
    const total = this.outline.seconds;
    const from = (left / full) * total;
    const to = ((left + width) / full) * total;
    drawWave(context, { ...this.outline, marks: this.marks, from, to, width, height: this.canvas.clientHeight });
  }

  leave() {
    this.isLeft = true;
    this.resized.disconnect();
    if (this.frame) cancelAnimationFrame(this.frame);
    this.audio?.pause();
    this.audio?.removeAttribute("src"); // ends the download
    this.audio?.load();
  }
}

function drawWave(context, { caller, agent, seconds, marks: { overlaps, gaps }, from, to, width, height }) {
  const colours = palette();
  const x = (at) => ((at - from) / (to - from)) * width;
  const lanes = height - RULER_PX - GAP_PX;
  context.fillStyle = colours.overlap;
  context.globalAlpha = 0.28;
  for (const { start, end } of overlaps) context.fillRect(x(start), 0, Math.max(1.5, x(end) - x(start)), lanes);
  context.globalAlpha = 1;
  const scale = reach(caller, agent);
  [["caller", caller, lanes * 0.25], ["agent", agent, lanes * 0.75]].forEach(([side, peaks, middle]) => {
    context.fillStyle = colours.line;
    context.fillRect(0, middle, width, 1);
    context.fillStyle = colours[side];
    const size = (lanes / 4 - 4) / scale;
    columns(peaks, seconds, from, to, Math.floor(width)).forEach(([least, greatest], column) => {
      const top = middle - greatest * size;
      const tall = Math.max(1, (greatest - least) * size);
      if (tall > 1.2) context.fillRect(column, top, 1, tall);
    });
  });
  drawGaps(context, gaps, x, lanes, colours);
  drawRuler(context, ticks(from, to, Math.max(2, width / 90)), x, height, width, colours);
}

function drawGaps(context, gaps, x, top, colours) {
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const { start, end, value } of gaps) {
    const [left, right] = [x(start), x(end)];
    if (right < -40 || left > context.canvas.width) continue;
    context.fillStyle = colours.faint;
    context.fillRect(left, top + 3, Math.max(2, right - left), 3);
    context.textAlign = "left";
    context.fillText(gap(value), Math.max(2, left), top + 13);
  }
}

function drawRuler(context, times, x, height, width, colours) {
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "bottom";
  context.fillStyle = colours.faint;
  for (const time of times) {
    const at = x(time);
    context.fillRect(at, height - RULER_PX + 1, 1, 4);
    context.textAlign = at < 16 ? "left" : at > width - 24 ? "right" : "center";
    context.fillText(duration(time), at, height - 1);
  }
}
