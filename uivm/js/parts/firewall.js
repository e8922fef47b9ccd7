// SPDX-License-Identifier: GPL-2.0-or-later
// Which other domains a VM may talk to over v4v, what each rule opens, and whether anything enforces it.

import * as bus from "../bus.js";
import { h, row, table } from "../dom.js";
import { adder, remover } from "./form.js";

export async function firewall(path) {
  const vm = bus.vm(path);
  const [rules, status, openings] = await Promise.all([
    bus.ask(vm, "list_v4v_firewall_rules"),
    bus.orElse(bus.ask(bus.firewall(), "status"), {}),
    bus.orElse(bus.ask(bus.firewallOf(path), "dry_run"), []),
  ]);
  const rows = rules.map((rule) => row([h("code", {}, rule), effect(rule, openings)],
    remover("firewall", `the rule ${rule}`, () => bus.ask(vm, "delete_v4v_firewall_rule", rule))));
  return [
    h("p", { class: "summary" }, status.enforced === "true" ? "In force." : `Not enforced: ${status.detail || "unknown"}.`),
    table("Firewall rules", ["Rule", ""], rows, "It has no rules of its own."),
    adder("firewall", "Add a rule", [["rule", "Rule, such as myself -> 0:5556", "text"]],
      ({ rule }) => bus.ask(vm, "add_v4v_firewall_rule", rule)),
  ];
}

/** What a rule opens while the VM runs. */
function effect(rule, openings) {
  const commands = openings.filter(([one, , command]) => one === rule && command).map(([, , command]) => command);
  return h("small", {}, commands.length > 0 ? commands.join("; ") : "opens nothing now");
}
