// A dialogue on the page: lines of two sides as they come, the newest kept in sight.

import { h, setText } from "./dom.js";
import { place } from "./format.js";
import { Dialogue } from "./lines.js";

const NAMES = { caller: "Caller", agent: "Agent" };

export class Captions {
  // `names`: how the two sides are called, where "Caller" is "You"
  constructor({ names = NAMES, blank = "Nothing has been said yet." } = {}) {
    this.names = names;
    this.dialogue = new Dialogue();
    this.shown = new Map(); // line -> its elements
    this.blank = h("p", { class: "quiet blank" }, blank);
    this.list = h("ol", { class: "dialogue", "aria-live": "polite", "aria-label": "What is said" }, this.blank);
    this.element = h("div", { class: "captions", tabindex: "0", role: "region", "aria-label": "Captions" }, this.list);
  }

  add(speaker, text, start, end, isFragment = false) {
    const isAtEnd = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 60;
    const line = this.dialogue.add(speaker, text, start, end, isFragment);
    if (this.shown.size > this.dialogue.maxLines) this.forget();
    if (!line.text) return;
    this.blank.remove();
    let parts = this.shown.get(line);
    if (parts === undefined) {
      parts = { text: h("p", {}) };
      const name = h("span", { class: "name" }, this.names[speaker]);
      parts.element = h("li", { class: `line ${speaker}` }, h("header", {}, name, h("time", {}, place(start))), parts.text);
      this.shown.set(line, parts);
      const after = this.dialogue.lines[this.dialogue.lines.indexOf(line) + 1];
      this.list.insertBefore(parts.element, this.shown.get(after)?.element ?? null);
    }
    setText(parts.text, line.text);
    if (isAtEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  // A long call: what the dialogue has dropped leaves the page, too.
  forget() {
    const kept = new Set(this.dialogue.lines);
    for (const [line, parts] of this.shown) {
      if (kept.has(line)) continue;
      parts.element.remove();
      this.shown.delete(line);
    }
  }

  clear() {
    this.dialogue = new Dialogue();
    this.shown.clear();
    this.list.replaceChildren(this.blank);
  }
}
