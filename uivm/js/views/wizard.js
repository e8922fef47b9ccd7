// SPDX-License-Identifier: GPL-2.0-or-later
// Creating a VM: a form, what speaks against it, then one call after the other with its outcome shown.
// A step that fails stops the rest; the VM stays as far as it got, and the page leads to it.

import * as bus from "../bus.js";
import { h } from "../dom.js";
import { loadVm, state } from "../model.js";

const IMAGE = "images/vms/001_ComputerXP_h32bit_120.png";
const MB_PER_GB = 1000;
const TOOLS_ISO = "xc-tools.iso";
const CRYPTO = [["", "No"], ["256", "256 bits"], ["512", "512 bits"]];
const BOOT = [["iso", "ISO image"], ["cd", "CD drive"], ["network", "Network"], ["off", "Do not start now"]];

export async function wizard() {
  const [templates, isos, networks] = await Promise.all([
    bus.ask(bus.xenmgr(), "list_ui_templates"),
    bus.orElse(bus.ask(bus.host(), "list_isos"), []),
    state.services.network ? bus.orElse(bus.ask(bus.networks(), "list"), []) : [],
  ]);
  const steps = h("ol", { class: "steps", "aria-live": "polite" });
  const problems = h("ul", { class: "problems", role: "alert" });
  const submit = h("button", { type: "submit", class: "primary" }, "Create");
  const form = h("form", {
    class: "card wizard",
    id: "wizard",
    onsubmit: (event) => {
      event.preventDefault();
      create(Object.fromEntries(new FormData(form)), { steps, problems, submit, isos });
    },
  }, ...fields(templates, isos, networks), problems, h("div", { class: "actions" },
    h("a", { class: "button", href: "#/vms" }, "Cancel"), submit), steps);
  return [h("h1", {}, "New VM"), form];
}

function fields(templates, isos, networks) {
  const by_description = [...templates].sort((one, other) => other.description.localeCompare(one.description));
  const usable = networks.filter((one) => one.type !== "unknown" && one.backend_vm);
  const of_kind = (kind) => usable.filter((one) => one.type === kind).map((one) => [one.object, one.label || one.object]);
  return [
    choice("template", "Template", by_description.map((one) => [one.template, one.description])),
    input("name", "Name", { type: "text", required: true, maxlength: 64, autocomplete: "off" }),
    input("description", "Description", { type: "text" }),
    input("memory", "Memory in MiB", { type: "number", min: 32, value: "1024", required: true }),
    input("vcpus", "Virtual CPUs", { type: "number", min: 1, max: 128, value: "2", required: true }),
    input("storage", "Disk in GB (0: none)", { type: "number", min: 0, value: "80", required: true }),
    choice("crypto", "Encrypt the disk", CRYPTO),
    networks.length > 0 && choice("wired", "Wired network", [["", "None"], ...of_kind("wired")]),
    networks.length > 0 && choice("wireless", "Wireless network", [["", "None"], ...of_kind("wifi")]),
    choice("boot", "Start from", BOOT),
    isos.length > 0 && choice("iso", "ISO image", isos.map((name) => [name, name])),
  ];
}

function input(name, label, attributes) {
  const id = `new-${name}`;
  return h("p", { class: "field" }, h("label", { for: id }, label), h("input", { id, name, ...attributes }));
}

function choice(name, label, options) {
  const id = `new-${name}`;
  const made = options.map(([value, text]) => h("option", { value }, text));
  return h("p", { class: "field" }, h("label", { for: id }, label), h("select", { id, name }, ...made));
}

/** Why a VM like this cannot be, or cannot start: everything at once. */
export function preflight(wanted, host) {
  const memory = Number(wanted.memory);
  const storage_mb = Number(wanted.storage) * MB_PER_GB;
  return [
    !wanted.name.trim() && "The VM needs a name.",
    !wanted.template && "There is no template to create it from.",
    wanted.boot !== "off" && memory > host["free-mem"]
      && `It wants ${memory} MiB of memory, but only ${host["free-mem"]} MiB are free.`,
    host["total-storage"] > 0 && storage_mb > host["free-storage"]
      && `It wants ${storage_mb} MB of storage, but only ${host["free-storage"]} MB are free.`,
    wanted.boot === "iso" && !wanted.iso && "There is no ISO image to start from; choose another way.",
  ].filter(Boolean);
}

async function create(wanted, { steps, problems, submit, isos }) {
  const against = preflight(wanted, state.host);
  problems.replaceChildren(...against.map((text) => h("li", {}, text)));
  if (against.length > 0) return;
  submit.disabled = true;
  steps.replaceChildren();
  const made = {};
  try {
    for (const [title, action] of plan(wanted, made, isos)) await step(steps, title, action);
    location.hash = `#/vm${made.vm.slice("/vm".length)}`;
  } catch {
    submit.disabled = false;
    if (made.vm) {
      submit.hidden = true;
      steps.append(h("li", {}, h("a", { href: `#/vm${made.vm.slice("/vm".length)}` }, "Go to the VM as it is")));
    }
  }
}

async function step(list, title, action) {
  const outcome = h("span", {}, "…");
  list.append(h("li", {}, `${title} `, outcome));
  try {
    await action();
    outcome.textContent = "done";
  } catch (error) {
    outcome.textContent = error.message;
    outcome.className = "problem";
    throw error;
  }
}

/** The calls, in their order.  `made` collects what they make. */
function plan(wanted, made, isos) {
  const has_disk = Number(wanted.storage) > 0;
  const cd = wanted.boot === "iso" ? wanted.iso : isos.includes(TOOLS_ISO) ? TOOLS_ISO : "";
  const values = {
    vcpus: Number(wanted.vcpus),
    memory: Number(wanted.memory),
    boot: wanted.boot === "network" ? "cn" : "cd",
    ...(cd ? { cd } : {}),
  };
  return [
    ["Create the VM", async () => {
      const { template, name, description } = wanted;
      made.vm = await bus.ask(bus.xenmgr(), "create_vm_with_ui", template, name, description, IMAGE);
      await bus.set(bus.vm(made.vm), "name", name); // a template's own name would win
    }],
    has_disk && ["Make the disk's file", async () => {
      made.file = await bus.ask(bus.xenmgr(), "create_vhd", Number(wanted.storage) * MB_PER_GB);
    }],
    has_disk && ["Add the disk", async () => {
      made.disk = await bus.ask(bus.vm(made.vm), "add_disk");
      await bus.ask(bus.disk(made.disk), "attach_vhd", made.file);
    }],
    has_disk && wanted.crypto && ["Make its key", () =>
      bus.ask(bus.disk(made.disk), "generate_crypto_key", Number(wanted.crypto))],
    ["Set its properties", () =>
      Promise.all(Object.entries(values).map(([name, value]) => bus.set(bus.vm(made.vm), name, value)))],
    wanted.wired && ["Add a network card", () => addNic(made.vm, wanted.wired, false)],
    wanted.wireless && ["Add a wireless card", () => addNic(made.vm, wanted.wireless, true)],
    ["Look at it", () => loadVm(made.vm)],
    wanted.boot !== "off" && ["Start it", () => bus.ask(bus.vm(made.vm), "start")],
  ].filter(Boolean);
}

async function addNic(vm, network, is_wireless) {
  const nic = bus.nic(await bus.ask(bus.vm(vm), "add_nic"));
  await Promise.all([bus.set(nic, "network", network), bus.set(nic, "wireless-driver", is_wireless)]);
}
