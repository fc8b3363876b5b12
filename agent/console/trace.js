// The moving picture of a call's two levels: the caller above the line, the agent below it.

import { palette, sharpContext } from "./dom.js";
import { loudness } from "./format.js";
import { FRAME_MS, KEPT_LEVELS } from "./state.js";

const MAX_LAG_FRAMES = 6; // how far the picture runs on while no levels come
const drawn = new Map(); // canvas -> () => Levels
let isRunning = false;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.isSeen = entry.isIntersecting;
});

export function watch(canvas, levels) {
  canvas.isSeen = true;
  drawn.set(canvas, levels);
  seen.observe(canvas);
  if (!isRunning) {
    isRunning = true;
    requestAnimationFrame(drawAll);
  }
}

export function unwatch(canvas) {
  drawn.delete(canvas);
  seen.unobserve(canvas);
}

let lastMs = 0;
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

function drawAll(now) {
  if (!drawn.size) {
    isRunning = false;
    return;
  }
  requestAnimationFrame(drawAll);
  const pause = isStill.matches ? 240 : drawn.size > 40 ? 45 : 30; // many traces: 20 pictures a second
  if (now - lastMs < pause) return;
  lastMs = now;
  for (const [canvas, levels] of drawn) if (canvas.isSeen) drawTrace(canvas, levels(), now);
}

export function drawTrace(canvas, trace, now) {
  const context = sharpContext(canvas);
  if (context === null || !trace) return;
  const { clientWidth: width, clientHeight: height } = canvas;
  const pitch = Math.max(3, width / KEPT_LEVELS);
  const middle = height / 2;
  const late = trace.at ? Math.min(MAX_LAG_FRAMES, (now - trace.at) / FRAME_MS) : 0;
  const colours = palette();
  context.fillStyle = colours.line;
  context.fillRect(0, middle - 0.5, width, 1);
  const bar = Math.max(1, Math.min(4, pitch - 1));
  for (const [side, sign] of [["caller", -1], ["agent", 1]]) {
    context.fillStyle = colours[side];
    context.beginPath();
    const levels = trace[side];
    for (let index = KEPT_LEVELS - 1; index >= 0; index -= 1) {
      const x = width - (KEPT_LEVELS - index + late - MAX_LAG_FRAMES / 2) * pitch;
      if (x < -pitch) break;
      const size = loudness(levels[index]) * (middle - 2);
      if (size > 0.5) context.rect(x, sign < 0 ? middle - 1 - size : middle + 1, bar, size);
    }
    context.fill();
  }
}
