// SPDX-License-Identifier: GPL-2.0-or-later
// The host: what it is, how full it is, what it has, its settings, and switching it off.

import * as bus from "../bus.js";
import { card, confirmed, doer, facts, h, row, table } from "../dom.js";
import { networkName, state } from "../model.js";
import { deviceNames } from "../parts/usb.js";
import { properties } from "./properties.js";

const POWER = [["shutdown", "Shut down"], ["reboot", "Reboot"], ["sleep", "Sleep"], ["hibernate", "Hibernate"]];

//  id of the card, title, what makes its content, the changes after which it is drawn again
const CARDS = [
  ["use", "Use", use, "host"],
  ["about", "This machine", about, "host"],
  ["networks", "Networks", networks, "networks services"],
  ["usb-names", "USB devices", deviceNames, "usb services"],
  ["isos", "ISO images", isos, ""],
  ["host-pci", "PCI devices", pci, ""],
];

export async function host() {
  const xenmgr = bus.xenmgr();
  const [ui, config, cards] = await Promise.all([
    bus.orElse(bus.getAll(xenmgr.config.ui), {}),
    bus.orElse(bus.getAll(xenmgr.config), {}),
    Promise.all(CARDS.map(async ([id, title, content, follows]) => {
      const made = await card(id, title, content);
      made.dataset.follows = follows;
      return made;
    })),
  ]);
  return [
    h("div", { class: "bar" }, h("h1", {}, "Host"), h("div", { class: "actions" }, ...POWER.map(power))),
    h("div", { class: "columns" }, ...cards),
    properties(xenmgr.config.ui, ui, "Settings of the user interface"),
    properties(xenmgr.config, config, "Settings of the toolstack"),
    properties(bus.host(), state.host, "All properties of the host"),
  ];
}

function use() {
  const of_host = state.host;
  return [
    gauge("Memory", "MiB", of_host["total-mem"], of_host["free-mem"]),
    gauge("Storage", "MB", of_host["total-storage"], of_host["free-storage"]),
  ];
}

function gauge(label, unit, total, free) {
  if (!total) return null;
  const id = `gauge-${label.toLowerCase()}`;
  return h("p", {},
    h("label", { for: id }, `${label}: ${free} of ${total} ${unit} free`),
    h("meter", { id, min: 0, max: total, value: total - free, high: total * 0.9 }));
}

function about() {
  const of_host = state.host;
  const cores = of_host["cpu-count"];
  return [facts([
    ["State", of_host.state],
    ["Model", `${of_host.vendor || ""} ${of_host.model || ""}`.trim()],
    ["Serial number", of_host.serial],
    ["Firmware", of_host["bios-revision"]],
    ["Processor", of_host["physical-cpu-model"] && `${of_host["physical-cpu-model"]}, ${cores} CPUs`],
    ["Graphics", of_host["physical-gpu-model"]],
    ["Wired card", `${of_host["eth0-model"] || ""} ${of_host["eth0-mac"] || ""}`.trim()],
    ["Wireless card", `${of_host["wireless-model"] || ""} ${of_host["wireless-mac"] || ""}`.trim()],
    ["Measured boot", of_host["measured-boot-enabled"] ? (of_host["measured-boot-successful"] ? "passed" : "failed") : "off"],
    ...Object.entries(of_host["build-info"] || {}),
  ])];
}

function networks() {
  if (!state.services.networks) return null;
  const rows = state.networks.map((one) => row([networkName(one.object), h("small", {}, one.object)],
    `${one.type}, ${one.mode}`, [h("code", { class: "mac" }, one.mac), h("small", {}, one.driver)]));
  return [table("Networks", ["Network", "Kind", "Card"], rows,
    "The network daemon knows of no network that is served.")];
}

async function isos() {
  const names = await bus.ask(bus.host(), "list_isos");
  if (names.length === 0) return [h("p", { class: "empty" }, "There are none.")];
  return [h("ul", { class: "plain" }, ...names.map((name) => h("li", {}, name)))];
}

async function pci() {
  const devices = await bus.ask(bus.host(), "list_pci_devices");
  if (devices.length === 0) return null;
  const rows = devices.map((one) => row(h("code", {}, one.addr), one.name));
  return [h("details", { id: "host-pci-all" }, h("summary", {}, `${devices.length} devices`),
    table("PCI devices", ["Address", "Device"], rows))];
}

function power([method, word]) {
  return doer(word, async () => {
    if (await confirmed(`${word} the host, with all of its VMs?`, word)) await bus.ask(bus.host(), method);
  });
}
