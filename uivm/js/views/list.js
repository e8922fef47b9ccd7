// SPDX-License-Identifier: GPL-2.0-or-later
// The list of VMs, and of service VMs, with their live state.

import { buttons } from "../actions.js";
import { h, table } from "../dom.js";
import { listed, nameOf, stateOf, vms } from "../model.js";

export const badge = (path) => h("span", { class: `state ${stateOf(path)}` }, stateOf(path));

export function list(kind) {
  const paths = listed(kind);
  const title = kind === "user" ? "Virtual machines" : "Service VMs";
  return [
    h("div", { class: "bar" },
      h("h1", {}, title),
      kind === "user" && h("a", { class: "button primary", href: "#/new" }, "New VM")),
    paths.length > 0
      ? table(title, ["Name", "State", "Memory", "Domain", "Actions"], paths.map(row))
      : h("p", { class: "empty" }, kind === "user" ? "There is no VM yet." : "There is no service VM."),
  ];
}

function row(path) {
  const properties = vms.get(path);
  return h("tr", { "data-path": path },
    h("th", { scope: "row" },
      h("a", { href: `#/vm${path.slice("/vm".length)}` }, nameOf(path)),
      properties.description && h("small", {}, properties.description)),
    h("td", {}, badge(path)),
    h("td", {}, `${properties.memory} MiB`),
    h("td", {}, properties.domid >= 0 ? String(properties.domid) : "–"),
    h("td", {}, ...buttons(path, true)));
}
