// SPDX-License-Identifier: GPL-2.0-or-later
// Elements, and telling the person something.  Knows nothing of VMs.

/** h("button", {class: "x", onclick: f}, "text", child): texts are never read as markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A sentence at the edge of the page, read out by screen readers; errors stay until they are put away. */
export function tell(text, kind = "info") {
  const box = document.getElementById("messages");
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Dismiss message" }, "✕");
  const line = h("p", { class: `message ${kind}` }, h("span", {}, text), close);
  close.addEventListener("click", () => line.remove());
  box.append(line);
  if (kind !== "error") setTimeout(() => line.remove(), 6000);
}

/** Runs an action with its button marked busy; an error becomes a message. */
export async function busy(button, action) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    tell(error.message, "error");
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

/** Asks before something that cannot be undone.  Resolves to true or false. */
export function confirmed(question, verb) {
  const dialog = h("dialog", { class: "confirm", "aria-label": question });
  return new Promise((resolve) => {
    const done = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const yes = h("button", { type: "button", class: "danger", onclick: () => done(true) }, verb);
    const no = h("button", { type: "button", onclick: () => done(false) }, "Cancel");
    dialog.append(h("p", {}, question), h("div", { class: "actions" }, no, yes));
    dialog.addEventListener("cancel", () => done(false));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A table with a caption for screen readers; a column without a heading holds actions. */
export function table(caption, heads, rows) {
  return h("table", {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head || h("span", { class: "hidden" }, "Actions"))))),
    h("tbody", {}, ...rows));
}
