// SPDX-License-Identifier: GPL-2.0-or-later
// Generated clients as promises, and one name for each object of the toolstack.  Keeps no state.

/* global XenClient */

const XENMGR = "com.citrix.xenclient.xenmgr";

/** Bus names of the daemons that a host may lack. */
export const SERVICES = {
  networks: "com.citrix.xenclient.networkdaemon",
  usb: "com.citrix.xenclient.usbdaemon",
  updates: "com.citrix.xenclient.updatemgr",
};
export const PROPERTIES_CHANGED = "org.freedesktop.DBus.Properties";
export const BUS = "org.freedesktop.DBus";

const client = (kind, service, path) => new XenClient.DBus[kind](service, path).com.citrix.xenclient;

export const xenmgr = () => client("XenmgrClient", XENMGR, "/").xenmgr;
export const host = () => client("XenmgrHostClient", XENMGR, "/host").xenmgr.host;
export const vm = (path) => client("XenmgrVmClient", XENMGR, path).xenmgr.vm;
export const why = (path) => client("XenmgrVmWhyClient", XENMGR, path).xenmgr.vm.why;
export const devices = (path) => client("XenmgrVmDevicesClient", XENMGR, path).xenmgr.vm.devices;
export const firewall = () => client("XenmgrV4vClient", XENMGR, "/").xenmgr.v4v;
export const firewallOf = (path) => client("XenmgrV4vClient", XENMGR, path).xenmgr.vm.v4v;
export const disk = (path) => client("VmDiskClient", XENMGR, path).vmdisk;
export const nic = (path) => client("VmNicClient", XENMGR, path).vmnic;
export const networks = () => client("NetworkDaemonClient", SERVICES.networks, "/").networkdaemon;
export const usb = () => client("CtxusbDaemonClient", SERVICES.usb, "/").usbdaemon;
export const updates = () => client("UpdatemgrClient", SERVICES.updates, "/").updatemgr;

/** The out argument of a call, or an array of several.  Rejects with {code, message, name}. */
export function ask(of, member, ...args) {
  return new Promise((resolve, reject) => {
    of[member](...args, (...outs) => resolve(outs.length > 1 ? outs : outs[0]), (why) => reject(asError(why)));
  });
}

export const getAll = (of) => ask(of, "get_all_properties");
export const set = (of, name, value) => ask(of, "set_property", name, value);

/** `fallback` when the call fails: for parts of the host that may be absent. */
export const orElse = (promise, fallback) => promise.catch(() => fallback);

function asError(why) {
  return Object.assign(new Error(inWords(why)), { code: why.code, name: why.name });
}

/** What a person reads.  The number is kept: it is what manuals and logs know. */
export function inWords({ code, message, name }) {
  if (code) return `${message} (error ${code})`;
  return message || name;
}
