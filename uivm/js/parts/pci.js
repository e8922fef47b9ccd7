// SPDX-License-Identifier: GPL-2.0-or-later
// Devices of the host that a VM gets: by rules, and what those rules mean now.

import * as bus from "../bus.js";
import { doer, h, row, table } from "../dom.js";
import { adder, remover } from "./form.js";

export async function pci(path) {
  const rules = bus.vm(path).pci;
  const [listed, devices, of_host, fresh] = await Promise.all([
    bus.ask(rules, "list_pt_rules"),
    bus.ask(rules, "list_pt_pci_devices"),
    bus.orElse(bus.ask(bus.host(), "list_pci_devices"), []),
    bus.orElse(bus.ask(bus.devices(path), "changed_devices"), []),
  ]);
  const choices = of_host.map((one) => [one.addr, `${one.addr} ${one.name}`]);
  return [
    table("Rules", ["Rule", ""], listed.map((rule) => line(rules, rule)), "No device of the host is passed to it."),
    devices.length > 0 && h("p", {}, "They mean now: ", devices.map((one) => `${one.addr} ${one.name}`).join("; ")),
    fresh.length > 0 && confirmation(path, fresh),
    choices.length > 0 && adder("pci", "Pass a device through", [["addr", "Device", choices]],
      ({ addr }) => bus.ask(rules, "add_pt_rule_bdf", addr)),
    adder("pci", "Pass through all of a kind", [
      ["pciclass", "Class, such as 0x200", "text"],
      ["vendor", "Vendor, or any", "text"],
      ["device", "Device, or any", "text"],
    ], ({ pciclass, vendor, device }) => bus.ask(rules, "add_pt_rule", pciclass, vendor, device)),
  ];
}

function line(rules, { rule }) {
  return row(h("code", {}, rule), remover("pci", `the rule ${rule}`, () => bus.ask(rules, ...deletion(rule))));
}

/** The call that deletes a rule of that text: `bdf=0000:00:19.0 @ 5` or `match class=0x0200 vendor= device=`. */
function deletion(rule) {
  const [, address, slot] = /^bdf=(\S+)(?: @ (\w+))?$/.exec(rule) || [];
  if (address) return ["delete_pt_rule_bdf", slot ? `${address}@${slot}` : address];
  return ["delete_pt_rule", ...["class", "vendor", "device"].map((name) => new RegExp(`${name}=(\\S*)`).exec(rule)[1])];
}

/** The machine changed: nobody gets another device than before without a word. */
function confirmation(path, fresh) {
  const addresses = fresh.map((one) => one.addr);
  return h("p", { class: "warning" }, `New to these rules, and held back: ${addresses.join(", ")} `,
    doer("Pass them through", () => bus.ask(bus.devices(path), "confirm_devices", addresses)));
}
