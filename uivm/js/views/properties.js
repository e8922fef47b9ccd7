// SPDX-License-Identifier: GPL-2.0-or-later
// All properties of an object as a form: what each means, and an input for those that can be written.

import * as bus from "../bus.js";
import { h } from "../dom.js";

const READERS = { b: (input) => input.checked, s: (input) => input.value };
const INTEGERS = "ynqiuxt";

/** `object` is a client's interface object, `values` what it said last. */
export function properties(object, values) {
  const search = h("input", {
    type: "search",
    id: "property-search",
    oninput: () => filter(list, search.value),
  });
  const list = h("dl", { class: "properties" });
  for (const row of object.about) {
    if (row[0] in values) list.append(line(object, row, values[row[0]]));
  }
  return h("details", { class: "card", id: "properties" },
    h("summary", {}, h("h2", {}, "All properties")),
    h("p", { class: "field" }, h("label", { for: "property-search" }, "Find a property"), search), list);
}

function filter(list, text) {
  for (const item of list.children) item.hidden = !item.textContent.toLowerCase().includes(text.toLowerCase());
}

function line(object, [name, type, access, meaning], value) {
  const id = `property-${object.interface_name.replaceAll(".", "-")}-${name}`;
  const is_editable = access === "readwrite" && (type === "s" || type === "b" || INTEGERS.includes(type));
  const field = is_editable ? editor(object, id, name, type, value) : h("output", { id }, shown(value));
  return h("div", { "data-property": name },
    h("dt", {}, h("label", { for: id }, name), meaning && h("small", { id: `${id}-about` }, meaning)),
    h("dd", {}, field));
}

function shown(value) {
  if (value === "") return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function editor(object, id, name, type, value) {
  const problem = h("span", { class: "problem", id: `${id}-problem`, role: "alert" });
  const input = h("input", {
    id,
    type: { b: "checkbox", s: "text" }[type] || "number",
    "aria-describedby": `${id}-about ${id}-problem`,
    onchange: () => save(object, name, type, input, problem),
  });
  show(input, type, value);
  input.saved = value;
  return h("span", { class: "field" }, input, problem);
}

function show(input, type, value) {
  if (type === "b") input.checked = value;
  else input.value = value;
}

async function save(object, name, type, input, problem) {
  const value = (READERS[type] || ((one) => Number(one.value)))(input);
  problem.textContent = "";
  try {
    await bus.set(object, name, value);
    input.saved = value;
    input.classList.add("saved");
    setTimeout(() => input.classList.remove("saved"), 1500);
  } catch (error) {
    problem.textContent = error.message;
    show(input, type, input.saved);
  }
}
