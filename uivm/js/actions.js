// SPDX-License-Identifier: GPL-2.0-or-later
// What can be done with a VM in which state: one table, and the buttons made from it.

import * as bus from "./bus.js";
import { confirmed, doer, tell } from "./dom.js";
import { nameOf, stateOf } from "./model.js";

const OFF = ["stopped", "suspended", "unknown"];
const ON = ["running"];

//  method      word        states       question before it
const ACTIONS = [
  ["start", "Start", OFF],
  ["unpause", "Continue", ["paused"]],
  ["resume", "Wake", ["asleep"]],
  ["shutdown", "Shut down", ON],
  ["reboot", "Reboot", ON],
  ["pause", "Pause", ON],
  ["sleep", "Sleep", ON],
  ["hibernate", "Hibernate", ON],
  ["destroy", "Force off", [...ON, "paused", "creating", "stopping", "asleep", "rebooting"],
    (name) => `Force ${name} off? The guest loses what it has not saved.`],
];
const FIRST = ["start", "unpause", "resume"];

/** Buttons for what fits the VM's state; `few`: the first one only. */
export function buttons(path, few = false) {
  const fitting = ACTIONS.filter(([, , states]) => states.includes(stateOf(path)));
  return fitting.slice(0, few ? 1 : fitting.length).map((action) => button(path, action));
}

function button(path, [method, word, , question]) {
  const look = question ? "danger" : FIRST.includes(method) ? "primary" : "";
  return doer(word, async () => {
    if (question && !(await confirmed(question(nameOf(path)), word))) return;
    await bus.ask(bus.vm(path), method);
  }, { class: look, "data-action": method, "aria-label": `${word} ${nameOf(path)}` });
}

export async function remove(path) {
  if (!(await confirmed(`Delete ${nameOf(path)} with its configuration?`, "Delete"))) return;
  await bus.ask(bus.vm(path), "delete_");
  tell(`${nameOf(path)} was deleted.`);
  location.hash = "#/vms";
}
