// SPDX-License-Identifier: GPL-2.0-or-later
// The disks of a VM.

import * as bus from "../bus.js";
import { h, row, table } from "../dom.js";
import { adder, remover } from "./form.js";

const MB_PER_GB = 1000;
const BYTES_PER_MB = 1e6;
const WAYS = [["new", "A new, empty disk of so many GB"], ["file", "A VHD file of the host"], ["device", "A block device of the host"]];

export async function disks(path) {
  const paths = await bus.ask(bus.vm(path), "list_disks");
  const all = await Promise.all(paths.map(async (one) => ({ path: one, ...(await bus.getAll(bus.disk(one))) })));
  return [
    table("Disks", ["Device", "Where", "Size", ""], all.map(line), "It has no disk."),
    adder("disks", "Add a disk", [
      ["way", "What", WAYS],
      ["value", "Size, file or device", "text"],
    ], (given) => add(path, given)),
  ];
}

function line(disk) {
  const number = disk.path.split("/").pop();
  const about = [disk.devtype === "cdrom" ? "CD drive" : disk["phys-type"], disk.mode === "r" && "read only",
    disk["encryption-key-set"] && "encrypted", disk.snapshot !== "none" && disk.snapshot, !disk.enabled && "off"];
  return row(disk["virt-path"] || number,
    [h("span", { class: "path" }, disk["phys-path"] || "–"), h("small", {}, about.filter(Boolean).join(", "))],
    size(disk), remover("disks", `disk ${number}`, () => bus.ask(bus.disk(disk.path), "delete_")));
}

function size(disk) {
  if (!disk["virtual-size-mb"]) return "–";
  const used = Math.round(disk["utilization-bytes"] / BYTES_PER_MB);
  return `${disk["virtual-size-mb"]} MB, ${used} used`;
}

/** A disk that cannot be attached is taken away again. */
async function add(path, { way, value }) {
  const file = way === "new" ? await bus.ask(bus.xenmgr(), "create_vhd", Number(value) * MB_PER_GB) : value;
  const made = await bus.ask(bus.vm(path), "add_disk");
  try {
    await bus.ask(bus.disk(made), way === "device" ? "attach_phy" : "attach_vhd", file);
  } catch (error) {
    await bus.orElse(bus.ask(bus.disk(made), "delete_"), null);
    throw error;
  }
}
