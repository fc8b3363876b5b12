// How the gateway is: workers, Redis, the SIP side.

import { h, setText } from "./dom.js";
import { duration, moment, plural } from "./format.js";

export function healthView(root, { state, session }) {
  const verdict = h("div", { class: "verdict", role: "status" });
  const workers = h("div", { class: "workers" });
  const sides = h("div", { class: "two" });
  const links = session.grafana_url
    ? h("a", { class: "button", href: session.grafana_url, rel: "noreferrer", target: "_blank" }, "Open Grafana")
    : null;
  root.append(
    h("div", { class: "head" }, h("h1", {}, "Health"), links),
    h("div", { class: "stack" }, verdict, h("section", {}, h("h2", {}, "Workers"), workers), sides),
  );
  let shown = "";

  function fill() {
    const gateway = state.gateway;
    if (!gateway) {
      setText(verdict, "Loading …");
      return;
    }
    const text = JSON.stringify(gateway);
    if (text === shown) return;
    shown = text;
    const troubles = [...gateway.reasons, ...gateway.degraded];
    verdict.dataset.tone = gateway.reasons.length ? "slow" : troubles.length ? "fair" : "good";
    verdict.replaceChildren(
      h("strong", {}, gateway.is_ready ? "Ready for calls" : "Not ready for calls"),
      h("span", {}, troubles.length ? troubles.join("; ") : "Everything works."),
    );
    workers.replaceChildren(...gateway.workers.map(workerCard));
    sides.replaceChildren(gatewayCard(gateway), sipCard(gateway.sip));
  }

  fill();
  return { update: fill };
}

function workerCard(worker) {
  const share = worker.num_slots ? worker.num_used / worker.num_slots : 0;
  const state = worker.is_ready ? "Ready" : worker.failure ? "Failed" : "Starting";
  const meter = h("span", { class: "meter" }, h("span", {}));
  meter.firstChild.style.transform = `scaleX(${Math.min(1, share)})`;
  return h("article", { class: "card worker" },
    h("header", {}, h("strong", {}, worker.label), h("span", { class: "quiet" }, worker.model || worker.worker_id),
      h("span", { class: "tag", "data-tone": worker.is_ready ? "good" : worker.failure ? "slow" : "fair" }, state)),
    h("div", { class: "slots" }, h("span", {}, `${worker.num_used} of ${plural(worker.num_slots, "slot")} in use`), meter),
    worker.failure ? h("p", { class: "problem" }, worker.failure) : null,
    table([
      ["Tick, median", ms(worker.tick_p50_ms)],
      ["Tick, 99 %", ms(worker.tick_p99_ms), worker.tick_p99_ms > 80 ? "slow" : ""],
      ["Deadlines missed", String(worker.num_deadline_misses), worker.num_deadline_misses ? "fair" : ""],
      ["Deaths in a row", String(worker.num_deaths), worker.num_deaths ? "slow" : ""],
    ]));
}

function gatewayCard(gateway) {
  return h("section", { class: "card" }, h("h2", {}, "Gateway"), table([
    ["Redis", gateway.is_redis_up ? "Connected" : "Away: calls go on, records wait", gateway.is_redis_up ? "good" : "slow"],
    ["Slots", `${gateway.num_used} of ${gateway.num_slots} in use`],
    ["Name", gateway.gateway_id],
    ["Version", gateway.version],
    ["Started", `${moment(gateway.started_at_ms)} (${duration((Date.now() - gateway.started_at_ms) / 1000)} ago)`],
  ]));
}

function sipCard(sip) {
  const ports = [sip.udp_port && `UDP ${sip.udp_port}`, sip.tcp_port && `TCP ${sip.tcp_port}`].filter(Boolean).join(", ");
  return h("section", { class: "card" }, h("h2", {}, "Trunks and phones"), table([
    ["Call", `sip:order@${sip.address}:${sip.udp_port || sip.tcp_port}`],
    ["Listens on", `${sip.address}, ${ports}`],
    ["May call", sip.allowed_peers.length ? sip.allowed_peers.join(", ") : "This machine only"],
    ["Codecs", sip.codecs.join(", ")],
    ["SIP calls", String(sip.num_calls)],
    ["Strangers refused", String(sip.num_foreign)],
    ["Not SIP", String(sip.num_malformed)],
  ]));
}

function table(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value, tone]) => [h("dt", {}, name), h("dd", { "data-tone": tone ?? "" }, value)]));
}

function ms(value) {
  return value === null ? "–" : `${value} ms`;
}
