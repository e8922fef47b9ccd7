// SPDX-License-Identifier: GPL-2.0-or-later
// The list of VMs, and of service VMs, with their live state.

import { buttons } from "../actions.js";
import { badge, tile } from "../badges.js";
import { h, table } from "../dom.js";
import { listed, nameOf, state, stateOf, vms } from "../model.js";

export function list(kind) {
  const paths = listed(kind);
  const title = kind === "user" ? "Virtual machines" : "Service VMs";
  return [
    h("div", { class: "bar" },
      h("div", {}, h("h1", {}, title), h("p", { class: "summary" }, summary(paths))),
      kind === "user" && h("a", { class: "button primary", href: "#/new" }, "New VM")),
    h("section", { class: "card flush", "aria-label": title },
      table(title, ["Name", "State", "Memory", "CPUs", "Domain", "Actions"], paths.map(row), nothing(kind))),
  ];
}

const nothing = (kind) => (kind === "user"
  ? "There is no VM yet. Create the first one with New VM."
  : "There is no service VM on this host.");

function summary(paths) {
  const running = paths.filter((path) => stateOf(path) === "running").length;
  const { "free-mem": free, "total-mem": total } = state.host;
  return [`${running} of ${paths.length} running`, total && `${free} of ${total} MiB of memory free`]
    .filter(Boolean).join(" · ");
}

function row(path) {
  const properties = vms.get(path);
  return h("tr", { "data-path": path },
    h("th", { scope: "row" }, h("span", { class: "named" }, tile(path), h("span", {},
      h("a", { href: `#/vm${path.slice("/vm".length)}` }, nameOf(path)),
      properties.description && h("small", {}, properties.description)))),
    h("td", {}, badge(path)),
    h("td", {}, `${properties.memory} MiB`),
    h("td", { "data-label": "CPUs" }, String(properties.vcpus)),
    properties.domid >= 0
      ? h("td", { "data-label": "Domain" }, String(properties.domid))
      : h("td", { class: "none" }, "–"),
    h("td", { class: "last" }, ...buttons(path, true)));
}
