// The page: who is signed in, which view is shown, the bar around it.

import { ApiFailure, get, post, whenSignedOut } from "./api.js";
import { emptyState, forgetPalette, h, icon, setIcon, setText, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { apply, newState } from "./state.js";
import { callView } from "./view_call.js";
import { healthView } from "./view_health.js";
import { liveView } from "./view_live.js";
import { loginView } from "./view_login.js";
import { recordingView } from "./view_recording.js";
import { recordingsView } from "./view_recordings.js";
import { watchView } from "./view_watch.js";

const PAGES = [
  { path: "live", name: "Live", glyph: "live", right: "calls:read" },
  { path: "call", name: "Call", glyph: "call", right: "calls:create" },
  { path: "recordings", name: "Recordings", glyph: "recordings", right: "recordings:read" },
  { path: "health", name: "Health", glyph: "health", right: "calls:read" },
];
const VIEWS = { live: liveView, call: callView, recordings: recordingsView, health: healthView };
const ONE = { live: watchView, recordings: recordingView };

const main = document.getElementById("main");
const state = newState();
const context = { state, session: null, can: (right) => context.session?.rights.includes(right) ?? false, toast };
let hasShown = false;
let view = null; // {update?(touched), leave?()} of what is shown

const feed = new Feed(
  (message) => {
    const touched = apply(state, message, performance.now());
    view?.update?.(touched);
    showLink("live");
  },
  (link) => {
    if (link === "refused") checkSession();
    showLink(link);
  },
);

function showLink(link) {
  if (state.link === link) return;
  state.link = link;
  const element = document.getElementById("link-state");
  element.className = `link-state ${link}`;
  setText(element, link === "live" ? "Connected" : "Reconnecting");
  view?.linkChanged?.(link);
}

async function checkSession() {
  await get("/v1/console/session").catch((error) => {
    if (!(error instanceof ApiFailure)) throw error; // signed out is told by whenSignedOut
  });
}

function show(make, ...parts) {
  view?.leave?.();
  main.replaceChildren();
  view = make(main, context, ...parts) ?? {};
  window.scrollTo(0, 0);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % in an address that somebody typed
  }
}

function route() {
  if (!context.session) return;
  const [page, id] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const allowed = PAGES.filter((one) => context.can(one.right));
  const chosen = PAGES.find((one) => one.path === page) ?? allowed[0] ?? PAGES[0];
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.dataset.page === chosen.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${chosen.name} · Offhook`;
  if (!context.can(chosen.right)) {
    show((root) => root.append(emptyState("alert", "Not with this key", `It lacks the right ${chosen.right}.`)));
  } else {
    show(id && ONE[chosen.path] ? ONE[chosen.path] : VIEWS[chosen.path], id);
  }
  if (hasShown) main.focus({ preventScroll: true }); // at first the keyboard begins at the top
  hasShown = true;
}

function signedIn(session) {
  context.session = session;
  document.getElementById("bar").hidden = false;
  const tabs = PAGES.filter((page) => context.can(page.right)).map((page) =>
    h("a", { href: `#/${page.path}`, "data-page": page.path }, icon(page.glyph), h("span", {}, page.name)),
  );
  document.getElementById("tabs").replaceChildren(...tabs);
  if (context.can("calls:read")) feed.start();
  route();
}

function signedOut(note = "") {
  const isNews = context.session !== null || view === null || note !== "";
  context.session = null;
  feed.stop();
  state.calls.clear();
  document.getElementById("bar").hidden = true;
  document.title = "Sign in · Offhook";
  if (isNews) show(loginView, signedIn, note);
}

async function begin() {
  const code = /[#&]code=([^&]+)/.exec(location.hash)?.[1];
  if (code) {
    history.replaceState(null, "", "/#/live"); // a code is used once, and does not stay in the history
    try {
      signedIn(await post("/v1/console/login", { code: decoded(code) }, { isQuiet: true }));
      return;
    } catch (error) {
      const session = await get("/v1/console/session", { isQuiet: true }).catch(() => null);
      if (session) signedIn(session);
      else signedOut(error.status === 401 ? "This link has been used, or is too old." : error.message);
      return;
    }
  }
  try {
    signedIn(await get("/v1/console/session", { isQuiet: true }));
  } catch (error) {
    signedOut(error.status === 401 ? "" : `${error.message} ${error.remedy ?? ""}`);
  }
}

function theme() {
  const chosen = document.documentElement.dataset.theme;
  const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setIcon(document.getElementById("theme"), isDark ? "sun" : "moon", isDark ? "Light theme" : "Dark theme");
  forgetPalette();
  view?.themeChanged?.();
  return isDark;
}

document.getElementById("theme").addEventListener("click", () => {
  const next = theme() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("offhook-theme", next);
  theme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
setIcon(document.getElementById("leave"), "leave", "Sign out");
document.getElementById("leave").addEventListener("click", async () => {
  await post("/v1/console/logout").catch(() => {});
  signedOut();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the router's
  main.focus();
});
window.addEventListener("hashchange", () => (/[#&]code=/.test(location.hash) ? begin() : route()));
whenSignedOut(() => signedOut("Your session is over. Sign in again."));
theme();
begin();
