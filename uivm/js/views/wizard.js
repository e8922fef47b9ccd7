// SPDX-License-Identifier: GPL-2.0-or-later
// Creating a VM: a form, what speaks against it, then one call after the other with its outcome shown.
// A step that fails stops the rest; the VM stays as far as it got, and the page leads to it.

import * as bus from "../bus.js";
import { h } from "../dom.js";
import { loadVm, networkName, state } from "../model.js";
import { choice } from "../parts/form.js";
import { addNic } from "../parts/nics.js";

const IMAGE = "images/vms/001_ComputerXP_h32bit_120.png";
const MB_PER_GB = 1000;
const TOOLS_ISO = "xc-tools.iso";
const CRYPTO = [["", "No"], ["256", "256 bits"], ["512", "512 bits"]];
const BOOT = [["iso", "ISO image"], ["cd", "CD drive"], ["network", "Network"], ["kernel", "A kernel on the host"],
  ["off", "Do not start now"]];

export async function wizard() {
  const [templates, isos] = await Promise.all([
    bus.ask(bus.xenmgr(), "list_ui_templates"),
    bus.orElse(bus.ask(bus.host(), "list_isos"), []),
  ]);
  const steps = h("ol", { class: "steps", "aria-live": "polite", "aria-label": "Steps" });
  const problems = h("ul", { class: "problems" });
  const submit = h("button", { type: "submit", class: "primary" }, "Create");
  const form = h("form", {
    class: "card wizard",
    id: "wizard",
    onsubmit: (event) => {
      event.preventDefault();
      create(Object.fromEntries(new FormData(form)), { steps, problems, submit, isos });
    },
  }, ...fields(templates, isos), h("div", { role: "alert" }, problems), h("div", { class: "actions" },
    submit, h("a", { class: "button", href: "#/vms" }, "Cancel")), steps);
  return [h("h1", {}, "New VM"), form];
}

function fields(templates, isos) {
  const by_description = [...templates].sort((one, other) => other.description.localeCompare(one.description));
  const { "free-mem": memory, "free-storage": storage } = state.host;
  const ways = isos.length > 0 ? BOOT : BOOT.filter(([way]) => way !== "iso");
  const boot = select("boot", "Start from", ways, isos.length > 0 ? "iso" : "off");
  return [
    group("The VM",
      select("template", "Template", by_description.map((one) => [one.template, one.description])),
      input("name", "Name", { type: "text", required: true, maxlength: 64, autocomplete: "off" }),
      input("description", "Description", { type: "text" })),
    group("Its machine",
      input("memory", "Memory in MiB", { type: "number", min: 32, value: "1024", required: true }, `${memory} MiB are free.`),
      input("vcpus", "Virtual CPUs", { type: "number", min: 1, max: 128, value: "2", required: true }),
      input("storage", "Disk in GB (0: none)", { type: "number", min: 0, value: "80", required: true },
        storage > 0 && `${Math.floor(storage / MB_PER_GB)} GB are free; a disk grows as it is written to.`),
      select("crypto", "Encrypt the disk", CRYPTO)),
    state.services.networks && group("Its networks",
      select("wired", "Wired network", [["", "None"], ...ofKind("wired")], wiredDefault()),
      select("wireless", "Wireless network", [["", "None"], ...ofKind("wifi")])),
    group("Its first start", boot,
      onlyFor(boot, "iso", select("iso", "ISO image", isos.map((name) => [name, name]))),
      onlyFor(boot, "kernel", input("kernel", "Kernel", { type: "text" }, "A file of the host, for guests without firmware.")),
      onlyFor(boot, "kernel", input("initrd", "Initial RAM disk", { type: "text" })),
      onlyFor(boot, "kernel", input("cmd-line", "Kernel's command line", { type: "text" }))),
  ];
}

/** A field that is there for one way to start. */
function onlyFor(boot, way, field) {
  const ways = boot.querySelector("select");
  const show = () => (field.hidden = ways.value !== way);
  ways.addEventListener("change", show);
  show();
  return field;
}

const ofKind = (kind) => state.networks
  .filter((one) => one.type === kind)
  .map((one) => [one.object, networkName(one.object)]);

/** The first bridged one. */
const wiredDefault = () => state.networks.find((one) => one.type === "wired" && one.mode === "bridged")?.object ?? "";

const group = (title, ...content) => h("fieldset", {}, h("legend", {}, title), ...content);

function input(name, label, attributes, hint) {
  const id = `new-${name}`;
  return h("p", { class: "field" }, h("label", { for: id }, label),
    h("span", {}, h("input", { id, name, ...attributes, "aria-describedby": hint ? `${id}-hint` : undefined }),
      hint && h("small", { id: `${id}-hint` }, hint)));
}

function select(name, label, options, value) {
  const id = `new-${name}`;
  return h("p", { class: "field" }, h("label", { for: id }, label), h("span", {}, choice({ id, name }, options, value)));
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
    wanted.crypto && storage_mb === 0 && "There is no disk to encrypt.",
    wanted.boot === "kernel" && !wanted.kernel && "It needs the kernel's file to start from.",
    wanted.boot === "network" && "wired" in wanted && !wanted.wired && !wanted.wireless
      && "It is to start from the network, but is on none.",
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
      steps.append(h("li", { class: "onward" }, h("a", { href: `#/vm${made.vm.slice("/vm".length)}` }, "Go to the VM as it is")));
    }
  }
}

async function step(list, title, action) {
  const outcome = h("span", {}, "…");
  const line = h("li", { class: "doing" }, `${title}: `, outcome);
  list.append(line);
  try {
    await action();
    outcome.textContent = "done";
    line.className = "done";
  } catch (error) {
    outcome.textContent = error.message;
    line.className = "failed";
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
    ...(wanted.boot === "kernel" ? { kernel: wanted.kernel, initrd: wanted.initrd, "cmd-line": wanted["cmd-line"] } : {}),
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
    wanted.wired && [`Put it on ${networkName(wanted.wired)}`, () => addNic(made.vm, wanted.wired, false)],
    wanted.wireless && [`Put it on ${networkName(wanted.wireless)}`, () => addNic(made.vm, wanted.wireless, true)],
    ["Look at it", () => loadVm(made.vm)],
    wanted.boot !== "off" && ["See whether it can start", () => needNoReasons(made.vm)],
    wanted.boot !== "off" && ["Start it", () => bus.ask(bus.vm(made.vm), "start")],
  ].filter(Boolean);
}

async function needNoReasons(vm) {
  const reasons = await bus.ask(bus.why(vm), "why_not_start");
  if (reasons.length > 0) throw new Error(reasons.join("; "));
}
