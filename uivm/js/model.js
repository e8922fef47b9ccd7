// SPDX-License-Identifier: GPL-2.0-or-later
// What the page knows of the host: the VMs and the host itself, kept fresh by signals.  Draws nothing.

/* global XUIDBus */

import * as bus from "./bus.js";

const XENMGR = "com.citrix.xenclient.xenmgr";
const MAX_EVENTS = 500;
const ASLEEP = 3;
const HIBERNATED = 4;

export const vms = new Map(); // path → properties
export const events = []; // newest last: {at, text}
export const state = { host: {}, is_up: false, services: {} };

const listeners = new Set();
const loading = new Map(); // path → promise, so that equal calls in flight are shared

/** Calls back after each change with its kind: "vms", "vm", "host", "events" or "link". */
export function onChange(listener) {
  listeners.add(listener);
}

function changed(kind, path) {
  listeners.forEach((listener) => listener(kind, path));
}

export function start() {
  XUIDBus.onLink((is_up) => {
    state.is_up = is_up;
    note(is_up ? "Connected." : "The connection was lost; trying again.");
    changed("link");
    if (is_up) reload();
  });
  XUIDBus.onSignal(XENMGR, onXenmgr);
  XUIDBus.onSignal(`${XENMGR}.host`, () => loadHost());
  XUIDBus.onSignal(bus.PROPERTIES_CHANGED, onProperties);
}

export async function reload() {
  try {
    await Promise.all([loadHost(), loadVms()]);
  } catch (error) {
    note(`Could not load: ${error.message}`);
  }
  await bus.orElse(bus.set(bus.host(), "ui-ready", true), null);
}

async function loadHost() {
  const [properties, network] = await Promise.all([
    bus.getAll(bus.host()),
    bus.orElse(bus.ask(bus.host(), "is_service_running", bus.NETWORK_SERVICE), false),
  ]);
  state.host = properties;
  state.services.network = network;
  changed("host");
}

async function loadVms() {
  const paths = await bus.ask(bus.xenmgr(), "list_vms");
  for (const path of [...vms.keys()]) {
    if (!paths.includes(path)) vms.delete(path);
  }
  await Promise.all(paths.map(loadVm));
  changed("vms");
}

/** Reads a VM again; equal requests in flight are one. */
export function loadVm(path) {
  if (!loading.has(path)) {
    const work = bus.getAll(bus.vm(path))
      .then((properties) => {
        vms.set(path, properties);
        changed("vm", path);
      })
      .catch(() => vms.delete(path)) // deleted meanwhile
      .finally(() => loading.delete(path));
    loading.set(path, work);
  }
  return loading.get(path);
}

async function onXenmgr({ member, args }) {
  const [uuid, path, word, acpi_state] = args;
  if (member === "vm_created") {
    await loadVm(path);
    note(`${nameOf(path)} was created.`);
    changed("vms");
  } else if (member === "vm_deleted") {
    note(`${nameOf(path)} was deleted.`);
    vms.delete(path);
    changed("vms");
  } else if (member === "vm_state_changed" && vms.has(path)) {
    onState(path, word, acpi_state);
  } else if (vms.has(path) && uuid) {
    loadVm(path);
  }
}

function onState(path, word, acpi_state) {
  const before = stateOf(path);
  Object.assign(vms.get(path), { state: word, "acpi-state": acpi_state });
  if (stateOf(path) !== before) note(`${nameOf(path)} is ${stateOf(path)}.`);
  changed("vm", path);
  loadVm(path); // the domain's number and others go with the state
}

function onProperties({ member, path, args }) {
  const known = vms.get(path);
  if (member !== "PropertiesChanged" || !known || args[0] !== `${XENMGR}.vm`) return;
  Object.assign(known, args[1]);
  changed("vm", path);
}

/** A line in the log of events. */
export function note(text) {
  events.push({ at: new Date(), text });
  if (events.length > MAX_EVENTS) events.shift();
  changed("events");
}

export function nameOf(path) {
  const known = vms.get(path);
  return (known && (known.name || known.uuid)) || path;
}

/** The state a person sees. */
export function stateOf(path) {
  const known = vms.get(path) || {};
  if (known["acpi-state"] === ASLEEP) return "asleep";
  if (known["acpi-state"] === HIBERNATED) return "suspended";
  return known.state || "unknown";
}

const isUserVm = (properties) => ["svm", "pvm"].includes(properties.type);

/** Paths of the VMs to show, by name. */
export function listed(kind) {
  return [...vms]
    .filter(([, properties]) => isUserVm(properties) === (kind === "user"))
    .filter(([, properties]) => !properties["hidden-in-ui"])
    .map(([path]) => path)
    .sort((one, other) => nameOf(one).localeCompare(nameOf(other)));
}
