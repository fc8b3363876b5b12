// What the page knows of the gateway, from the pushed messages. No DOM here.

export const KEPT_LEVELS = 160; // frames of 80 ms
export const FRAME_MS = 80;
const KEPT_WORDS = 400;
const QUIET_DBFS = -90;

// The latest levels of both sides, the newest last; `total` counts all that ever came.
export class Levels {
  constructor() {
    this.caller = new Int8Array(KEPT_LEVELS).fill(QUIET_DBFS);
    this.agent = new Int8Array(KEPT_LEVELS).fill(QUIET_DBFS);
    this.total = 0;
    this.at = 0; // performance.now() when the newest came
  }

  push([caller, agent], now) {
    const count = Math.min(KEPT_LEVELS, caller.length);
    for (const [kept, came] of [[this.caller, caller], [this.agent, agent]]) {
      kept.copyWithin(0, count);
      kept.set(came.slice(-count), KEPT_LEVELS - count);
    }
    this.total += caller.length;
    this.at = now;
  }
}

export function newState() {
  return { link: "connecting", isLoaded: false, gateway: null, calls: new Map(), ended: [], clockOffsetMs: 0 };
}

// Take one message; returns what it touched: {calls: [ids], gone: [ids], list: whether calls came or went}.
export function apply(state, message, now, wallMs = Date.now()) {
  state.clockOffsetMs = message.at_ms - wallMs;
  const touched = { calls: [], gone: [], list: false };
  if (message.type === "snapshot") forgetAbsent(state, message, touched);
  for (const row of message.calls ?? []) takeCall(state, row, message.type, now, touched);
  for (const id of message.gone ?? []) {
    if (state.calls.delete(id)) touched.gone.push(id);
    touched.list = true;
  }
  if (message.gateway) state.gateway = message.gateway;
  if (message.ended) state.ended = message.ended;
  state.isLoaded = true;
  return touched;
}

function forgetAbsent(state, message, touched) {
  const present = new Set((message.calls ?? []).map((row) => row.id));
  for (const id of [...state.calls.keys()]) {
    if (!present.has(id)) {
      state.calls.delete(id);
      touched.gone.push(id);
    }
  }
  touched.list = true;
}

function takeCall(state, row, kind, now, touched) {
  let call = state.calls.get(row.id);
  if (call === undefined || kind === "snapshot") {
    touched.list ||= call === undefined;
    call = { id: row.id, words: [], numWords: 0, trace: new Levels() };
    state.calls.set(row.id, call);
  }
  const { levels, words, ...facts } = row;
  Object.assign(call, facts);
  if (levels) call.trace.push(levels, now);
  if (words) {
    call.words.push(...words);
    call.numWords += words.length;
    if (call.words.length > KEPT_WORDS) call.words.splice(0, call.words.length - KEPT_WORDS);
  }
  touched.calls.push(row.id);
}

// Seconds since a call began, by the gateway's clock.
export function ageS(state, call, wallMs = Date.now()) {
  return Math.max(0, (wallMs + state.clockOffsetMs - call.started_at_ms) / 1000);
}

// The calls in the order they began, those that match a text (caller, id, worker, words) only.
export function listed(state, filter = "") {
  const wanted = filter.trim().toLowerCase();
  const calls = [...state.calls.values()].sort((one, other) => one.started_at_ms - other.started_at_ms);
  if (!wanted) return calls;
  return calls.filter((call) => {
    const said = call.words.slice(-60).map((word) => word[1]).join(" ");
    return `${call.caller} ${call.id} ${call.worker} ${call.transport} ${said}`.toLowerCase().includes(wanted);
  });
}
