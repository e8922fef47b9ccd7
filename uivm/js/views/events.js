// SPDX-License-Identifier: GPL-2.0-or-later
// What happened since the page was opened, newest first.

import { h } from "../dom.js";
import { events as all } from "../model.js";

export function events() {
  const lines = [...all].reverse().map(({ at, text }) =>
    h("li", {}, h("time", { datetime: at.toISOString() }, at.toLocaleTimeString()), " ", text));
  return [h("h1", {}, "Events"), h("ol", { class: "events", reversed: true }, ...lines)];
}
