// Values as people read them. No DOM here.

const OUTCOMES = {
  caller_hung_up: "Caller hung up",
  caller_cancelled: "Caller gave up",
  agent_hung_up: "Agent hung up",
  operator_hung_up: "Ended by operator",
  transferred: "Transferred",
  too_long: "Time limit",
  media_lost: "Connection lost",
  media_refused: "No common codec",
  trunk_failed: "Line failed",
  worker_lost: "Worker lost",
  model_failed: "Model failed",
  prompt_refused: "Prompt refused",
  no_free_slot: "All lines busy",
  over_limit: "Over its limit",
  line_full: "Line was full",
  unknown_line: "No such line",
  not_answered: "Not answered",
  call_refused: "Call refused",
  machine_answered: "A machine answered",
  shutting_down: "Gateway stopped",
  internal_error: "Internal error",
  unfinished: "Unfinished",
};
const FAILURES = new Set([
  "trunk_failed", "worker_lost", "model_failed", "prompt_refused", "no_free_slot", "internal_error", "media_lost", "media_refused",
  "call_refused",
]);
const EVENTS = {
  response: "Answered",
  early_start: "Started early",
  barge_in_stop: "Stopped when interrupted",
  barge_in_failed: "Talked over an interruption",
  backchannel: "Heard a short sound",
  overlap: "Both spoke",
};

export const OUTCOME_NAMES = Object.keys(OUTCOMES);

// 65 -> "1:05", 3723 -> "1:02:03"
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, index) => (index ? String(part).padStart(2, "0") : String(part))).join(":");
}

// 7.25 -> "0:07.2": a place in a recording
export function place(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  return `${duration(tenths / 10)}.${tenths % 10}`;
}

// 0.42 -> "420 ms", -0.08 -> "−80 ms", 1.5 -> "1.5 s", null -> "–"
export function gap(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const sign = seconds < 0 ? "−" : "";
  const size = Math.abs(seconds);
  return size < 1 ? `${sign}${Math.round(size * 1000)} ms` : `${sign}${size.toFixed(1)} s`;
}

// How a gap feels to a caller: "good" up to half a second, "slow" beyond 0.8 s.
export function gapTone(seconds) {
  if (seconds === null || seconds === undefined) return "none";
  return seconds <= 0.5 ? "good" : seconds <= 0.8 ? "fair" : "slow";
}

export function outcome(name) {
  return OUTCOMES[name ?? "unfinished"] ?? String(name).replaceAll("_", " ");
}

export function isFailure(name) {
  return FAILURES.has(name);
}

export function eventName(kind) {
  return EVENTS[kind] ?? String(kind).replaceAll("_", " ");
}

// "sip:***00@192.0.2.7" -> "***00"; what has no number stays as it is
export function caller(address, transport) {
  const user = /^(?:sips?:|tel:)?"?([^@;>"]*)/.exec(address ?? "")?.[1].trim();
  if (/^\*+$/.test(user)) return "Hidden number";
  if (transport === "webrtc") return "Browser";
  return user || "Unknown caller";
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

// "Today, 14:05", "Yesterday, 09:30", "24 Nov 2026, 09:30"
export function moment(ms, now = Date.now(), locale = undefined) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const midnight = new Date(now);
  midnight.setHours(0, 0, 0, 0);
  const days = Math.floor((midnight.getTime() - new Date(ms).setHours(0, 0, 0, 0)) / 86_400_000 + 0.5);
  if (days === 0) return `Today, ${time}`;
  if (days === 1) return `Yesterday, ${time}`;
  return `${at.toLocaleDateString(locale, { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

// dBFS -> 0..1: what is quieter than -60 is nothing, speech fills most of it
export function loudness(dbfs) {
  return Math.min(1, Math.max(0, (dbfs + 60) / 54));
}
