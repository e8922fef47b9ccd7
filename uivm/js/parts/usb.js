// SPDX-License-Identifier: GPL-2.0-or-later
// USB devices: those that a VM has or can have, and their names.  Nothing where there is no USB daemon.

import * as bus from "../bus.js";
import { busy, h, row, table } from "../dom.js";
import { state, vms } from "../model.js";
import { changer } from "./form.js";

// What a device is to the asking VM.  Source: OpenXT's USB daemon.
const UNUSED = 0, BLOCKED = 3, HERE = 4, ALWAYS_HERE = 5, ALWAYS = 6;
const WORDS = {
  [UNUSED]: "free", 1: "another VM's, which is off", 2: "another VM uses it", [BLOCKED]: "kept from it by policy",
  [HERE]: "its own now", [ALWAYS_HERE]: "its own, always", [ALWAYS]: "its own when it is plugged in", 7: "the host's own",
};

async function listed(uuid) {
  const ids = await bus.ask(bus.usb(), "list_devices");
  const all = await Promise.all(ids.map(async (id) => {
    const info = await bus.orElse(bus.ask(bus.usb(), "get_device_info", id, uuid), null); // unplugged meanwhile
    return info && { id, name: info[0], state: info[1], vm: info[2], detail: info[3] };
  }));
  return all.filter(Boolean);
}

export async function usb(path) {
  if (!state.services.usb) return null;
  const { uuid } = vms.get(path);
  const rows = (await listed(uuid)).map((one) => row(one.name, WORDS[one.state] ?? String(one.state), actions(one, uuid)));
  return [table("USB devices", ["Device", "Whose", ""], rows, "No USB device is plugged in.")];
}

function actions(device, uuid) {
  const has = [HERE, ALWAYS_HERE, ALWAYS].includes(device.state);
  const is_sticky = device.state !== HERE;
  const make = (word, label, ...call) => changer("usb", word, `${label} ${device.name}`, () => bus.ask(bus.usb(), ...call));
  return [
    device.state === UNUSED && make("Assign", "Assign", "assign_device", device.id, uuid),
    has && make("Release", "Release", "unassign_device", device.id),
    has && make(is_sticky ? "Not always" : "Always", is_sticky ? "Do not always assign" : "Always assign",
      "set_sticky", device.id, is_sticky ? 0 : 1),
  ];
}

/** Host page: every device, whose it is, and a name that can be changed. */
export async function deviceNames() {
  if (!state.services.usb) return null;
  const rows = (await listed("")).map((one) => row([namer(one), h("small", {}, one.detail)], owner(one)));
  return [table("USB devices", ["Name", "VM"], rows, "No USB device is plugged in.")];
}

function owner(device) {
  const found = [...vms.values()].find((one) => one.uuid === device.vm);
  return found ? found.name : device.vm || "–";
}

function namer(device) {
  const input = h("input", {
    type: "text",
    value: device.name,
    "aria-label": `Name of USB device ${device.id}`,
    onchange: () => busy(input, () => bus.ask(bus.usb(), "name_device", device.id, input.value)),
  });
  return input;
}
