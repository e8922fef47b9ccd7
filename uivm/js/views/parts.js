// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of a VM: disks, network cards, devices passed through, firewall rules.  Each is a card with a list
// and a form to add one.

import * as bus from "../bus.js";
import { busy, confirmed, h, table, tell } from "../dom.js";

export async function disks(path) {
  const paths = await bus.ask(bus.vm(path), "list_disks");
  const all = await Promise.all(paths.map(async (one) => ({ path: one, ...(await bus.getAll(bus.disk(one))) })));
  const rows = all.map((disk) => h("tr", {},
    h("th", { scope: "row" }, disk["virt-path"] || disk.path.split("/").pop()),
    h("td", {}, disk["phys-path"] || "–"),
    h("td", {}, disk["phys-type"]),
    h("td", {}, disk.mode === "r" ? "read only" : "read, write"),
    h("td", {}, remover("disk", () => bus.ask(bus.disk(disk.path), "delete_"), path))));
  return card("Disks", table("Disks", ["Device", "Where", "Type", "Access", ""], rows), adder(path, "Add a disk", [
    ["file", "File or block device in dom0", "text"],
  ], async ({ file }) => {
    const made = await bus.ask(bus.vm(path), "add_disk");
    await bus.ask(bus.disk(made), file.startsWith("/dev/") ? "attach_phy" : "attach_vhd", file);
  }));
}

export async function nics(path) {
  const paths = await bus.ask(bus.vm(path), "list_nics");
  const all = await Promise.all(paths.map(async (one) => ({ path: one, ...(await bus.getAll(bus.nic(one))) })));
  const rows = all.map((nic) => h("tr", {},
    h("th", { scope: "row" }, nic.path.split("/").pop()),
    h("td", {}, nic.network || "–"),
    h("td", {}, nic["mac-actual"] || nic.mac),
    h("td", {}, remover("network card", () => bus.ask(bus.nic(nic.path), "delete_"), path))));
  return card("Network cards", table("Network cards", ["Number", "Network", "MAC address", ""], rows),
    adder(path, "Add a network card", [["network", "Network", "text"]], async ({ network }) => {
      const made = await bus.ask(bus.vm(path), "add_nic");
      await bus.set(bus.nic(made), "network", network);
    }));
}

export async function pci(path) {
  const rules = bus.vm(path).pci;
  const [devices, of_host] = await Promise.all([
    bus.ask(rules, "list_pt_pci_devices"),
    bus.ask(bus.host(), "list_pci_devices"),
  ]);
  const rows = devices.map((device) => h("tr", {},
    h("th", { scope: "row" }, device.addr),
    h("td", {}, device.name),
    h("td", {}, remover("device", () => bus.ask(rules, "delete_pt_rule_bdf", device.addr), path))));
  return card("Devices passed through", table("Devices passed through", ["Address", "Device", ""], rows),
    adder(path, "Pass a device through", [
      ["addr", "Device", of_host.map((one) => [one.addr, `${one.addr} ${one.name}`])],
    ], ({ addr }) => bus.ask(rules, "add_pt_rule_bdf", addr)));
}

export async function firewall(path) {
  const rules = await bus.ask(bus.vm(path), "list_v4v_firewall_rules");
  const rows = rules.map((rule) => h("tr", {},
    h("th", { scope: "row" }, h("code", {}, rule)),
    h("td", {}, remover("rule", () => bus.ask(bus.vm(path), "delete_v4v_firewall_rule", rule), path))));
  return card("Firewall between VMs", table("Firewall rules", ["Rule", ""], rows), adder(path, "Add a rule", [
    ["rule", "Rule, such as myself -> 0:5556", "text"],
  ], ({ rule }) => bus.ask(bus.vm(path), "add_v4v_firewall_rule", rule)));
}

const card = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), ...content);

/** Draws the page anew after something was added or removed. */
const again = () => window.dispatchEvent(new Event("hashchange"));

function remover(what, action) {
  const button = h("button", {
    type: "button",
    class: "quiet",
    "aria-label": `Remove this ${what}`,
    onclick: () => busy(button, async () => {
      if (!(await confirmed(`Remove this ${what}?`, "Remove"))) return;
      await action();
      again();
    }),
  }, "Remove");
  return button;
}

/** A form of one line.  A field is name, label, and "text" or a list of choices. */
function adder(path, title, fields, action) {
  const inputs = fields.map(([name, label, kind]) => field(`${title} ${name}`.replaceAll(" ", "-"), name, label, kind));
  const button = h("button", { type: "submit" }, "Add");
  const form = h("form", {
    class: "adder",
    onsubmit: (event) => {
      event.preventDefault();
      busy(button, async () => {
        await action(Object.fromEntries(new FormData(form)));
        tell(`${title}: done.`);
        again();
      });
    },
  }, ...inputs, button);
  return h("details", {}, h("summary", {}, title), form);
}

function field(id, name, label, kind) {
  const input = kind === "text"
    ? h("input", { id, name, type: "text", required: true })
    : h("select", { id, name, required: true }, ...kind.map(([value, text]) => h("option", { value }, text)));
  return h("span", { class: "field" }, h("label", { for: id }, label), input);
}
