// SPDX-License-Identifier: GPL-2.0-or-later
// What happened since the page was opened, newest first.

import { h } from "../dom.js";
import { events as all, vms } from "../model.js";

export function events() {
  return [
    h("h1", {}, "Events"),
    h("p", { class: "summary" }, "What happened since this page was opened, newest first."),
    h("section", { class: "card", "aria-label": "Events" }, lines(all)),
  ];
}

/** The list of some events. */
export function lines(some) {
  const items = [...some].reverse().map(({ at, text, path }) => h("li", {},
    h("time", { datetime: at.toISOString() }, at.toLocaleTimeString()), " ",
    path && vms.has(path) ? h("a", { href: `#/vm${path.slice("/vm".length)}` }, text) : text));
  return h("ol", { class: "events", reversed: true }, ...items);
}
