// SPDX-License-Identifier: GPL-2.0-or-later
// What the page knows of the host: VMs, the host itself and its optional daemons, kept fresh by signals.
// Draws nothing.

/* global XUIDBus */

import * as bus from "./bus.js";

const XENMGR = "com.citrix.xenclient.xenmgr";
const MAX_EVENTS = 500;
const ASLEEP = 3;
const HIBERNATED = 4;

export const vms = new Map(); // path → properties
export const events = []; // newest last: {at, text, path}
export const state = {
  host: {},
  is_up: false,
  services: {}, // networks, usb, updates: whether that daemon is there
  networks: [], // those that a VM can be on
  updates: {}, // the update manager's properties
};

const listeners = new Set();
const loading = new Map(); // path → what is under way, and the one that follows it

/**
 * Calls back after each change with its kind: "vms", "vm", "config" (a VM's disks, cards or rules), "host",
 * "services", "networks", "usb", "updates", "events" or "link"; and the VM's path, if it is about one.
 */
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
  const { networks, usb, updates } = bus.SERVICES;
  XUIDBus.onSignal(XENMGR, onXenmgr);
  XUIDBus.onSignal(`${XENMGR}.host`, onHost);
  XUIDBus.onSignal(`${XENMGR}.guestreq`, ({ args }) => note(`${nameOf(args[1])} asks for attention.`, args[1]));
  XUIDBus.onSignal(bus.PROPERTIES_CHANGED, onProperties);
  XUIDBus.onSignal(bus.BUS, onName);
  XUIDBus.onSignal(`${networks}.notify`, onNetworks);
  XUIDBus.onSignal("com.citrix.xenclient.networkdomain.notify", onNetworks);
  XUIDBus.onSignal(usb, onUsb);
  XUIDBus.onSignal(updates, onUpdates);
}

export async function reload() {
  try {
    await Promise.all([loadHost(), loadServices(), loadVms()]);
  } catch (error) {
    note(`Could not load: ${error.message}`);
  }
  await bus.orElse(bus.set(bus.host(), "ui-ready", true), null);
}

async function loadHost() {
  state.host = await bus.getAll(bus.host());
  changed("host");
}

// Optional daemons

async function loadServices() {
  await Promise.all(Object.entries(bus.SERVICES).map(async ([part, name]) => {
    state.services[part] = await bus.orElse(bus.ask(bus.host(), "is_service_running", name), false);
  }));
  await Promise.all([loadNetworks(), loadUpdates()]);
  changed("services");
}

function onName({ member, args }) {
  const [name, , owner] = args;
  if (member !== "NameOwnerChanged" || !Object.values(bus.SERVICES).includes(name)) return;
  note(`${name} ${owner ? "is there" : "went away"}.`);
  loadServices();
}

/** A network that cannot be named, or that nobody serves, is none to choose. */
const isUsable = (network) => network.type !== "unknown" && network.backend_vm;

async function loadNetworks() {
  const all = state.services.networks ? await bus.orElse(bus.ask(bus.networks(), "list"), []) : [];
  state.networks = all.filter(isUsable);
  changed("networks");
}

/** What a person calls the network at an object path. */
export function networkName(path) {
  const network = state.networks.find((one) => one.object === path);
  if (!network) return path || "none";
  return network.label || `${network.type}, ${network.mode} (${path})`;
}

function onNetworks({ member, args }) {
  if (member === "network_state_changed") note(`Network ${networkName(args[0])} changed its state.`);
  loadNetworks();
}

function onUsb({ member, args }) {
  if (member === "device_rejected") note(`USB device ${args[0]} was refused: ${args[1]}.`);
  if (member === "devices_changed") note("USB devices came or went.");
  changed("usb");
}

async function loadUpdates() {
  state.updates = state.services.updates ? await bus.orElse(bus.getAll(bus.updates()), {}) : {};
  changed("updates");
}

function onUpdates({ member, args }) {
  if (member === "update_download_progress") {
    Object.assign(state.updates, { "update-download-percent": args[0], "update-download-speed": args[1] });
    changed("updates");
  } else {
    note(`Update: ${args[0] || "none"}.`);
    loadUpdates();
  }
}

// VMs and the host

async function loadVms() {
  const paths = await bus.ask(bus.xenmgr(), "list_vms");
  for (const path of [...vms.keys()]) {
    if (!paths.includes(path)) vms.delete(path);
  }
  await Promise.all(paths.map(loadVm));
  changed("vms");
}

/** Reads a VM again.  Who asks while that is under way, maybe of something newer, shares one more that follows. */
export function loadVm(path) {
  const before = loading.get(path);
  if (before) {
    before.next ||= before.work.then(() => loadVm(path));
    return before.next;
  }
  const work = readVm(path).finally(() => loading.delete(path));
  loading.set(path, { work });
  return work;
}

async function readVm(path) {
  try {
    vms.set(path, await bus.getAll(bus.vm(path)));
    changed("vm", path);
  } catch {
    vms.delete(path); // deleted meanwhile
  }
}

async function onXenmgr({ member, args }) {
  const [uuid, path, word, acpi_state] = args;
  if (member === "vm_created") {
    await loadVm(path);
    note(`${nameOf(path)} was created.`, path);
    changed("vms");
  } else if (member === "vm_deleted") {
    note(`${nameOf(path)} was deleted.`, path);
    vms.delete(path);
    changed("vms");
  } else if (member === "vm_state_changed" && vms.has(path)) {
    onState(path, word, acpi_state);
  } else if (vms.has(path) && uuid) {
    await loadVm(path);
    changed("config", path);
  }
}

function onHost({ member, args }) {
  if (member === "state_changed") note(`The host is ${args[0]}.`);
  if (member === "storage_space_low") note(`Storage is short: ${args[0]} % are free.`);
  loadHost();
}

function onState(path, word, acpi_state) {
  const before = stateOf(path);
  Object.assign(vms.get(path), { state: word, "acpi-state": acpi_state });
  if (stateOf(path) !== before) note(`${nameOf(path)} is ${stateOf(path)}.`, path);
  changed("vm", path);
  loadVm(path); // the domain's number and others go with the state
  loadHost(); // and the memory that is free
}

function onProperties({ member, path, args }) {
  const known = vms.get(path);
  if (member !== "PropertiesChanged" || !known || args[0] !== `${XENMGR}.vm`) return;
  Object.assign(known, args[1]);
  changed("vm", path);
}

/** A line in the log of events; `path` when it is about a VM. */
export function note(text, path) {
  events.push({ at: new Date(), text, path });
  if (events.length > MAX_EVENTS) events.shift();
  changed("events", path);
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
