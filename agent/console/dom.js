// Elements without a framework: text is always text, so nothing that a caller said can become markup.

const SVG = "http://www.w3.org/2000/svg";

// h("button", {class: "primary", onclick, "aria-label": "Call"}, "Call", h("span"))
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) setProperty(element, name, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function setProperty(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.className = value;
  else if (name === "style") Object.assign(element.style, value);
  else element.setAttribute(name, value === true ? "" : String(value));
}

// Write text only where it changed: an untouched node costs no layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, name, isOn) {
  if (element.classList.contains(name) !== Boolean(isOn)) element.classList.toggle(name, Boolean(isOn));
}

const PATHS = {
  live: "M3 12h3l3-8 5 16 3-8h4",
  call: "M6.6 3.5 9 3l2 5-2.2 1.6a13 13 0 0 0 5.6 5.6L16 13l5 2-.5 2.4A4 4 0 0 1 16.6 21C9.600 20.500 3.500 14.400 3 7.400a4 4 0 0 1 3.600-3.900Z",
  recordings: "M4 6h16M4 12h16M4 18h10",
  health: "M12 20s-7.500-4.600-7.500-10A4.300 4.300 0 0 1 12 7.300 4.300 4.300 0 0 1 19.500 10C19.500 15.400 12 20 12 20Z",
  hangup: "M3.500 14.500c5-5 12-5 17 0l-2 3-4-1.500v-2.500a9 9 0 0 0-5 0V16l-4 1.500Z",
  mute: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM6 11a6 6 0 0 0 12 0M12 17v4",
  muted: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM6 11a6 6 0 0 0 12 0M12 17v4M4 4l16 16",
  keypad: "M6 5h.01M12 5h.01M18 5h.01M6 11h.01M12 11h.01M18 11h.01M6 17h.01M12 17h.01M18 17h.01",
  play: "M8 5v14l11-7Z",
  pause: "M8 5v14M16 5v14",
  back: "M15 5l-7 7 7 7",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M2 12h2M20 12h2M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400",
  moon: "M20 14.500A8 8 0 0 1 9.500 4 8 8 0 1 0 20 14.500Z",
  leave: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM16 16l4.500 4.500",
  alert: "M12 4 2.500 20h19ZM12 10v4M12 17h.01",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `glyph glyph-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function setIcon(button, name, label) {
  if (button.dataset.icon === name && button.getAttribute("aria-label") === label) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
  button.title = label;
}

// A page without content yet, or with a fault: what it is, why, and what to do.
export function emptyState(glyph, title, text, ...actions) {
  return h("section", { class: "empty" }, icon(glyph), h("h2", {}, title), h("p", {}, text), ...actions);
}

export function toast(text) {
  const note = h("div", { class: "toast" }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 5000);
}

// A canvas that is as sharp as the screen, drawn with CSS pixels. Returns the context, or null while hidden.
export function sharpContext(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return null;
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

let colours = null;

// The theme's colours for canvases; read from the style sheet once per theme.
export function palette() {
  if (colours === null) {
    const style = getComputedStyle(document.documentElement);
    const names = ["caller", "agent", "overlap", "ink", "faint", "line", "surface", "accent"];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

export function forgetPalette() {
  colours = null;
}
