// SPDX-License-Identifier: GPL-2.0-or-later
// One VM: state and actions, its parts, all of its properties.

import { buttons, remove } from "../actions.js";
import * as bus from "../bus.js";
import { busy, h } from "../dom.js";
import { nameOf, stateOf, vms } from "../model.js";
import { badge } from "./list.js";
import { disks, firewall, nics, pci } from "./parts.js";
import { properties } from "./properties.js";

const FACTS = [
  ["uuid", "uuid"],
  ["type", "Type"],
  ["domid", "Domain"],
  ["memory", "Memory in MiB"],
  ["vcpus", "Virtual CPUs"],
];

export async function details(path) {
  if (!vms.has(path)) return [h("h1", {}, "No such VM"), h("p", {}, h("a", { href: "#/vms" }, "All VMs"))];
  const parts = await Promise.all([disks, nics, pci, firewall].map((part) => orProblem(part, path)));
  return [
    head(path),
    h("section", { class: "card" }, h("h2", {}, "Overview"),
      h("dl", { class: "facts", id: "facts" }, ...facts(path))),
    ...parts,
    properties(bus.vm(path), vms.get(path)),
  ];
}

function head(path) {
  const erase = h("button", { type: "button", class: "danger", onclick: () => busy(erase, () => remove(path)) }, "Delete");
  return h("div", { class: "bar", id: "vm-head" },
    h("h1", {}, nameOf(path), " ", badge(path)),
    h("div", { class: "actions" }, ...buttons(path), stateOf(path) === "stopped" && erase));
}

function facts(path) {
  const values = vms.get(path);
  return FACTS.flatMap(([name, label]) => [
    h("dt", {}, label),
    h("dd", {}, name === "domid" && values.domid < 0 ? "–" : String(values[name])),
  ]);
}

/** Changes what is live, and leaves alone what a person may be typing into. */
export function refresh(path) {
  const bar = document.getElementById("vm-head");
  if (!bar || !vms.has(path)) return;
  const focused = document.activeElement && document.activeElement.dataset.action;
  bar.replaceWith(head(path));
  const same = focused && document.querySelector(`#vm-head [data-action="${focused}"]`);
  if (same) same.focus();
  document.getElementById("facts").replaceChildren(...facts(path));
  for (const item of document.querySelectorAll("[data-property] output")) {
    const name = item.closest("[data-property]").dataset.property;
    item.textContent = String(vms.get(path)[name] ?? "");
  }
}

/** A part that cannot be had leaves a sentence, not an empty page. */
async function orProblem(part, path) {
  try {
    return await part(path);
  } catch (error) {
    return h("section", { class: "card" }, h("p", { class: "problem" }, error.message));
  }
}
