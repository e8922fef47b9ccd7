// SPDX-License-Identifier: GPL-2.0-or-later
// What the cards of a VM's parts share: a button that removes a thing, and a small form that adds one.

import { busy, confirmed, doer, h, tell } from "../dom.js";

/** The card of that id looks at the host again. */
const again = (id) => document.getElementById(id)?.redraw(true);

/** `id`: that of the card. */
export function remover(id, what, action) {
  return doer("Remove", async () => {
    if (!(await confirmed(`Remove ${what}?`, "Remove"))) return;
    await action();
    await again(id);
  }, { class: "quiet", "aria-label": `Remove ${what}` });
}

/** A button of a row, after which the card is drawn again. */
export function changer(id, word, label, action) {
  return doer(word, async () => {
    await action();
    await again(id);
  }, { class: "quiet", "aria-label": label });
}

/** A form of one line.  A field is name, label, and "text" or a list of choices. */
export function adder(id, title, fields, action) {
  const inputs = fields.map(([name, label, kind]) => field(`add-${id}-${name}`, name, label, kind));
  const button = h("button", { type: "submit" }, "Add");
  const form = h("form", {
    class: "adder",
    onsubmit: (event) => {
      event.preventDefault();
      busy(button, async () => {
        await action(Object.fromEntries(new FormData(form)));
        tell(`${title}: done.`);
        await again(id);
      });
    },
  }, ...inputs, button);
  return h("details", { id: `add-${id}` }, h("summary", {}, title), form);
}

function field(id, name, label, kind) {
  return h("span", { class: "field" }, h("label", { for: id }, label), kind === "text"
    ? h("input", { id, name, type: "text", required: true })
    : choice({ id, name, required: true }, kind));
}

/** A selection; an option is its value and what a person reads. */
export function choice(attributes, options, value) {
  return h("select", attributes, ...options.map(([one, text]) => h("option", { value: one, selected: one === value }, text)));
}
