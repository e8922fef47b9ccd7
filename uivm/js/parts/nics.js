// SPDX-License-Identifier: GPL-2.0-or-later
// The network cards of a VM, and the networks they are on.  Without a network daemon a network is a path.

import * as bus from "../bus.js";
import { h, row, table, tell } from "../dom.js";
import { networkName, state } from "../model.js";
import { adder, choice, remover } from "./form.js";

export async function nics(path) {
  const paths = await bus.ask(bus.vm(path), "list_nics");
  const all = await Promise.all(paths.map(async (one) => ({ path: one, ...(await bus.getAll(bus.nic(one))) })));
  const known = state.networks.map((one) => [one.object, networkName(one.object)]);
  return [
    table("Network cards", ["Card", "Network", "MAC address", ""], all.map(line), "It has no network card."),
    adder("nics", "Add a network card", [["network", "Network", known.length > 0 ? known : "text"]],
      ({ network }) => addNic(path, network)),
  ];
}

function line(nic) {
  const number = nic.path.split("/").pop();
  const kind = nic["wireless-driver"] ? "wireless" : "wired";
  return row([number, h("small", {}, nic.enabled ? kind : `${kind}, off`)], where(nic, number), h("code", { class: "mac" }, nic["mac-actual"] || nic.mac),
    remover("nics", `network card ${number}`, () => bus.ask(bus.nic(nic.path), "delete_")));
}

/** On which network: to be changed while the VM runs. */
function where(nic, number) {
  const known = state.networks.map((one) => [one.object, networkName(one.object)]);
  if (known.length === 0) return nic.network || "–";
  if (!known.some(([path]) => path === nic.network)) known.unshift([nic.network, nic.network]);
  const select = choice({
    "aria-label": `Network of card ${number}`,
    onchange: () => bus.set(bus.nic(nic.path), "network", select.value)
      .then(() => tell(`Card ${number} is on ${networkName(select.value)}.`))
      .catch((error) => {
        select.value = nic.network;
        tell(error.message, "error");
      }),
  }, known, nic.network);
  return select;
}

/** A card that cannot be put on the network is taken away again. */
export async function addNic(vm, network, is_wireless) {
  const wireless = is_wireless ?? state.networks.some((one) => one.object === network && one.type === "wifi");
  const made = await bus.ask(bus.vm(vm), "add_nic");
  const nic = bus.nic(made);
  try {
    await Promise.all([bus.set(nic, "network", network), bus.set(nic, "wireless-driver", wireless)]);
  } catch (error) {
    await bus.orElse(bus.ask(nic, "delete_"), null);
    throw error;
  }
}
