// Signing in with a key. The printed link needs no form: its code is exchanged before this is ever shown.

import { post } from "./api.js";
import { h } from "./dom.js";

export function loginView(root, context, onSession, note) {
  const problem = h("p", { class: "problem", role: "alert" }, note ?? "");
  const key = h("input", {
    type: "password", id: "key", autocomplete: "off", spellcheck: "false", placeholder: "offhook_…", required: true,
  });
  const button = h("button", { class: "primary", type: "submit" }, "Sign in");
  const form = h(
    "form",
    {
      class: "login",
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        problem.textContent = "";
        try {
          onSession(await post("/v1/console/login", { key: key.value.trim() }, { isQuiet: true }));
        } catch (error) {
          problem.textContent = {
            401: "This key is not valid. Look for a missing letter, or make another: offhook keys add NAME.",
            422: "Paste a key first.",
          }[error.status] ?? `${error.message} ${error.remedy ?? ""}`;
          key.select();
        } finally {
          button.disabled = false;
        }
      },
    },
    h("img", { src: "/console/icon.svg", alt: "", width: 48, height: 48 }),
    h("h1", {}, "Offhook"),
    h("p", { class: "quiet" }, "Open the link that ", h("code", {}, "make run"), " prints, or sign in with an API key."),
    h("label", { for: "key" }, "API key"),
    key,
    problem,
    button,
  );
  root.append(form);
  key.focus();
}
