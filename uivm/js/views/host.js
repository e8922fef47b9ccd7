// SPDX-License-Identifier: GPL-2.0-or-later
// The host: what it is, how full it is, and switching it off.

import * as bus from "../bus.js";
import { busy, confirmed, h } from "../dom.js";
import { state } from "../model.js";
import { properties } from "./properties.js";

const POWER = [["shutdown", "Shut down"], ["reboot", "Reboot"], ["sleep", "Sleep"], ["hibernate", "Hibernate"]];

export function host() {
  const facts = state.host;
  return [
    h("div", { class: "bar" }, h("h1", {}, "Host"), h("div", { class: "actions" }, ...POWER.map(power))),
    h("section", { class: "card" }, h("h2", {}, "Use"),
      gauge("Memory", "MiB", facts["total-mem"], facts["free-mem"]),
      gauge("Storage", "MB", facts["total-storage"], facts["free-storage"])),
    properties(bus.host(), facts),
  ];
}

function gauge(label, unit, total, free) {
  if (!total) return null;
  const id = `gauge-${label.toLowerCase()}`;
  return h("p", {},
    h("label", { for: id }, `${label}: ${free} of ${total} ${unit} free`),
    h("meter", { id, min: 0, max: total, value: total - free, high: total * 0.9 }));
}

function power([method, word]) {
  const button = h("button", {
    type: "button",
    onclick: () => busy(button, async () => {
      if (await confirmed(`${word} the host, with all of its VMs?`, word)) await bus.ask(bus.host(), method);
    }),
  }, word);
  return button;
}
