// SPDX-License-Identifier: GPL-2.0-or-later
// Elements, and telling the person something.  Knows nothing of VMs.

/** h("button", {class: "x", onclick: f}, "text", child): texts are never read as markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
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

/** A button that does something on the host, and is busy meanwhile. */
export function doer(word, action, attributes = {}) {
  const made = h("button", { type: "button", ...attributes, onclick: () => busy(made, action) }, word);
  return made;
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

/** A table with a caption for screen readers; a column without a heading holds actions.  Empty: a sentence. */
export function table(caption, heads, rows, empty = "") {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  return h("table", {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head || h("span", { class: "hidden" }, "Actions"))))),
    h("tbody", {}, ...rows));
}

/** A row of a table; on small screens each cell stands below the one before it, and buttons at the side. */
export function row(first, ...cells) {
  return h("tr", {}, h("th", { scope: "row" }, first), ...cells.map((cell) => h("td", { class: isTools(cell) && "tools" }, cell)));
}

const isTools = (cell) => [cell].flat().some((one) => one instanceof HTMLButtonElement);

/** Names and values; pairs without a value are left out. */
export function facts(pairs, attributes = {}) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: "facts", ...attributes },
    ...known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const isTyped = (element) => element && element.matches("input, select, textarea");

/**
 * A card that can be drawn again with `redraw(is_forced)`: `content` resolves to its children, or to null when
 * the card has no business here.  What a person is typing into is left alone; what is unfolded stays so.
 */
export async function card(id, title, content) {
  const body = h("div", {});
  const section = h("section", { class: "card", id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title), body);
  section.redraw = async (is_forced = false) => {
    let children;
    try {
      children = await content();
    } catch (error) {
      children = [h("p", { class: "problem" }, error.message)];
    }
    if (!is_forced && body.contains(document.activeElement) && isTyped(document.activeElement)) return;
    const unfolded = [...body.querySelectorAll("details[open]")].map((one) => one.id);
    section.hidden = children === null;
    body.replaceChildren(...(children || []).filter(Boolean));
    unfolded.forEach((one) => one && document.getElementById(one)?.setAttribute("open", ""));
  };
  await section.redraw(true);
  return section;
}
