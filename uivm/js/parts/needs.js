// SPDX-License-Identifier: GPL-2.0-or-later
// The VMs that must run before this one starts.

import { badge } from "../badges.js";
import * as bus from "../bus.js";
import { h, row, table } from "../dom.js";
import { nameOf, vms } from "../model.js";
import { adder, remover } from "./form.js";

const pathOf = (uuid) => `/vm/${uuid.replaceAll("-", "_")}`;

export async function needs(path) {
  const why = bus.why(path);
  const uuids = await bus.ask(why, "list_needed");
  const others = [...vms].filter(([one, { uuid }]) => one !== path && !uuids.includes(uuid));
  const rows = uuids.map((uuid) => {
    const other = pathOf(uuid);
    const name = vms.has(other) ? h("a", { href: `#${other}` }, nameOf(other)) : uuid;
    return row(name, vms.has(other) ? badge(other) : "there is no such VM",
      remover("needs", `the need for ${nameOf(other)}`, () => bus.ask(why, "remove_needed", uuid)));
  });
  return [
    table("VMs that it needs", ["VM", "State", ""], rows, "It needs no other VM, besides those that serve its network cards."),
    others.length > 0 && adder("needs", "Start another VM first", [
      ["uuid", "VM", others.map(([one, { uuid }]) => [uuid, nameOf(one)])],
    ], ({ uuid }) => bus.ask(why, "add_needed", uuid)),
  ];
}
