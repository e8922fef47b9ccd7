// SPDX-License-Identifier: GPL-2.0-or-later
// Which other domains a VM may talk to over v4v.

import * as bus from "../bus.js";
import { h, row, table } from "../dom.js";
import { adder, remover } from "./form.js";

export async function firewall(path) {
  const vm = bus.vm(path);
  const rules = await bus.ask(vm, "list_v4v_firewall_rules");
  const rows = rules.map((rule) => row(h("code", {}, rule),
    remover("firewall", `the rule ${rule}`, () => bus.ask(vm, "delete_v4v_firewall_rule", rule))));
  return [
    table("Firewall rules", ["Rule", ""], rows, "It has no rules of its own."),
    adder("firewall", "Add a rule", [["rule", "Rule, such as myself -> 0:5556", "text"]],
      ({ rule }) => bus.ask(vm, "add_v4v_firewall_rule", rule)),
  ];
}
