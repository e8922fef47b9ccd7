// SPDX-License-Identifier: GPL-2.0-or-later
// Updates of the host, where an update manager is there: look for one, fetch it, apply it.

import * as bus from "../bus.js";
import { busy, card, confirmed, doer, facts, h, tell } from "../dom.js";
import { state } from "../model.js";

// Source: the words of OpenXT's update manager.
const STATES = {
  "": "No update is under way.",
  "downloading-releases-info": "Looking for releases…",
  "downloaded-releases-info": "The list of releases is here.",
  "downloading-meta": "Looking at the update…",
  "downloaded-meta": "The update can be downloaded.",
  "downloading-files": "Downloading…",
  "downloaded-files": "The update is here, ready to be applied.",
  applying: "The update is being applied.",
  failed: "The update failed.",
  done: "The update was applied.",
};
const APPLICABLE = {
  "can-upgrade": "This host can be updated with it.",
  "cannot-upgrade": "It is not for this host.",
  "up-to-date": "This host is up to date.",
};
const BYTES_PER_MB = 1e6;

export async function updates() {
  const made = await card("update", "Update of this host", content);
  made.dataset.follows = "updates services";
  return [h("h1", {}, "Updates"), made];
}

function content() {
  if (!state.services.updates) return [h("p", { class: "empty" }, "This host has no update manager.")];
  const { "update-state": word, "update-fail-reason": failure } = state.updates;
  return [
    h("p", { class: word === "failed" ? "problem" : "", role: "status" }, STATES[word] ?? word, failure && ` ${failure}`),
    facts([
      ["From", state.updates["update-url"]],
      ["What it brings", state.updates["update-description"]],
      ["For this host", APPLICABLE[state.updates["update-applicable"]]],
    ]),
    word === "downloading-files" && progress(),
    h("div", { class: "actions" }, ...steps(word)),
    !word || word === "failed" || word === "done" ? finder() : null,
  ];
}

function progress() {
  const percent = Math.round(state.updates["update-download-percent"] || 0);
  const speed = ((state.updates["update-download-speed"] || 0) / BYTES_PER_MB).toFixed(1);
  return h("p", {}, h("label", { for: "update-progress" }, `${percent} %, ${speed} MB a second`),
    h("progress", { id: "update-progress", max: 100, value: percent }));
}

function steps(word) {
  const url = state.updates["update-url"];
  const apply = (verb, method) => doer(`Apply and ${verb}`, async () => {
    if (await confirmed(`Apply the update, then ${verb} with all VMs?`, "Apply")) await bus.ask(bus.updates(), method);
  });
  return [
    word === "downloaded-meta" && state.updates["update-applicable"] === "can-upgrade"
      && doer("Download", () => bus.ask(bus.updates(), "download_update", url), { class: "primary" }),
    word === "downloaded-files" && apply("reboot", "apply_update_and_reboot"),
    word === "downloaded-files" && apply("shut down", "apply_update_and_shutdown"),
    word && word !== "applying" && doer("Cancel", () => bus.ask(bus.updates(), "cancel_update")),
  ].filter(Boolean);
}

function finder() {
  const input = h("input", { id: "update-url", name: "url", type: "url", required: true, value: state.updates["update-url"] || "https://" });
  const button = h("button", { type: "submit", class: "primary" }, "Look for an update");
  return h("form", {
    class: "adder",
    onsubmit: (event) => {
      event.preventDefault();
      busy(button, async () => {
        const [, release, applicable] = await bus.ask(bus.updates(), "check_update", input.value);
        tell(`${release}: ${APPLICABLE[applicable] ?? applicable}`);
        document.getElementById("update").redraw(true);
      });
    },
  }, h("span", { class: "field" }, h("label", { for: "update-url" }, "Address of the update"), input), button);
}
