// SPDX-License-Identifier: GPL-2.0-or-later
// One VM: state and actions, why it cannot start, its parts, all of its properties, what happened to it.

/* global XenClient */

import { buttons, remove } from "../actions.js";
import { badge, tile } from "../badges.js";
import * as bus from "../bus.js";
import { card, doer, facts, h } from "../dom.js";
import { events, nameOf, stateOf, vms } from "../model.js";
import { disks } from "../parts/disks.js";
import { firewall } from "../parts/firewall.js";
import { needs } from "../parts/needs.js";
import { nics } from "../parts/nics.js";
import { pci } from "../parts/pci.js";
import { usb } from "../parts/usb.js";
import { lines } from "./events.js";
import { properties, showLive } from "./properties.js";

const MOVING = ["creating", "stopping", "rebooting", "suspending", "restoring"];
const MOST_EVENTS = 20;

//  id of the card, title, what makes its content, what it is drawn again after besides a change of the VM
const PARTS = [
  ["why", "Before it can start", whyNot, ["vm"]],
  ["disks", "Disks", disks, []],
  ["nics", "Network cards", nics, ["networks", "services"]],
  ["pci", "Devices passed through", pci, []],
  ["usb", "USB devices", usb, ["usb", "services"]],
  ["firewall", "Firewall between VMs", firewall, []],
  ["needs", "VMs that it needs", needs, ["vms"]],
  ["vm-events", "What happened", happened, ["events"]],
];

export async function details(path) {
  if (!vms.has(path)) return [h("h1", {}, "No such VM"), h("p", {}, h("a", { href: "#/vms" }, "All VMs"))];
  const made = PARTS.map(([id, title, content]) => card(id, title, () => content(path)));
  const [why, ...parts] = await Promise.all(made);
  return [
    head(path),
    why,
    h("section", { class: "card", "aria-label": "Overview" }, overview(path)),
    properties(bus.vm(path), vms.get(path), "All properties", await suggestions()),
    h("div", { class: "columns" }, ...parts),
  ];
}

/** What can stand in a property, where that is known. */
async function suggestions() {
  const { S3_MODE, S4_MODE } = XenClient.Resource.Xenmgr;
  return {
    cd: await bus.orElse(bus.ask(bus.host(), "list_isos"), []),
    boot: ["c", "d", "n", "cd", "dc", "cn"],
    os: ["linux", "windows", "windows8", "unknown"],
    "s3-mode": Object.values(S3_MODE),
    "s4-mode": Object.values(S4_MODE),
  };
}

function head(path) {
  const erase = doer("Delete", () => remove(path), { class: "danger" });
  return h("div", { class: "bar", id: "vm-head" },
    h("div", { class: "named" }, tile(path), h("h1", {}, nameOf(path), " ", badge(path))),
    h("div", { class: "actions" }, ...buttons(path), stateOf(path) === "stopped" && erase),
    MOVING.includes(stateOf(path)) && h("progress", { "aria-label": `${nameOf(path)} is ${stateOf(path)}` }));
}

function overview(path) {
  const values = vms.get(path);
  return facts([
    ["Memory", `${values.memory} MiB`],
    ["Virtual CPUs", String(values.vcpus)],
    ["Domain", values.domid < 0 ? "–" : String(values.domid)],
    ["Type", values.type],
    ["Disc", values.cd],
    ["Starts with the host", values["start-on-boot"] ? "yes" : "no"],
    ["uuid", h("code", {}, values.uuid)],
    ["Description", values.description],
  ], { id: "facts" });
}

/** Changes what is live, and leaves alone what a person may be typing into. */
export function refresh(kind, path, shown) {
  const is_gone = kind === "vms" && !vms.has(shown);
  if (is_gone) location.hash = "#/vms"; // deleted, here or elsewhere
  if (is_gone || (path && path !== shown)) return;
  if (kind === "vm") refreshHead(shown);
  for (const [id, , , kinds] of PARTS) {
    if (kinds.includes(kind) || (kind === "config" && id !== "vm-events")) document.getElementById(id)?.redraw();
  }
}

function refreshHead(path) {
  const bar = document.getElementById("vm-head");
  if (!bar || !vms.has(path)) return;
  const focused = document.activeElement && document.activeElement.dataset.action;
  bar.replaceWith(head(path));
  const same = focused && document.querySelector(`#vm-head [data-action="${focused}"]`);
  if (same) same.focus();
  document.getElementById("facts").replaceWith(overview(path));
  showLive(vms.get(path));
}

/** What a start would stumble over now; nothing to see while it runs, or when all is well. */
async function whyNot(path) {
  if (stateOf(path) !== "stopped") return null;
  const reasons = await bus.orElse(bus.ask(bus.why(path), "why_not_start"), []);
  if (reasons.length === 0) return null;
  return [h("ul", { class: "reasons" }, ...reasons.map((reason) => h("li", {}, reason)))];
}

function happened(path) {
  const mine = events.filter((event) => event.path === path).slice(-MOST_EVENTS);
  return mine.length > 0 ? [lines(mine)] : null;
}
