// SPDX-License-Identifier: GPL-2.0-or-later
// How a VM looks wherever it is shown: its tile, and its state.

import { h } from "./dom.js";
import { nameOf, stateOf } from "./model.js";

export const badge = (path) => h("span", { class: `state ${stateOf(path)}` }, stateOf(path));

/** A VM's first letter on a colour of its own; its name stands beside it. */
export function tile(path) {
  const letter = [...nameOf(path).replace(/[^\p{L}\p{N}]/gu, "")][0] || "?";
  const hue = [...path].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 360, 7);
  const made = h("span", { class: "tile", "aria-hidden": "true" }, letter.toUpperCase());
  made.style.setProperty("--hue", hue);
  return made;
}
