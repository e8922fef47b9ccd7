// SPDX-License-Identifier: GPL-2.0-or-later
// All properties of an object as a form: what each means, and an input for those that can be written.

import * as bus from "../bus.js";
import { h } from "../dom.js";

const READERS = { b: (input) => input.checked, s: (input) => input.value };
const INTEGERS = "ynqiuxt";

// The first group that a name fits has it; what fits none is at the end.
const GROUPS = [
  ["What people set", /^(name|description|memory|vcpus|boot|cd|start-on-boot|image-path|slot|os|type)$/],
  ["Starting and stopping", /^(start-|shutdown-|keep-alive|autostart|boot|run-|s3-|s4-|auto-s3|preserve|hibernated|dependencies|track-|control-platform|ready$)/],
  ["What may be done with it", /^(policy-|domstore-|usb-|crypto-|realm|sync-uuid|measured)/],
  ["The machine that the guest sees", /^(virt-type|hvm|pae|apic|acpi|hap|nx|hpet|viridian|nestedhvm|cpuid|xci-cpuid|cores|memory|video|timer|time-offset|smbios|serial|kernel|initrd|cmd-line|stubdom|flask|qemu|extra|vsnd|vkbd|vfb|v4v|passthrough|greedy|amt|gpu|oem|sound|display|restrict)/],
  ["Network", /^(wired|wireless|mac|provides|network)/],
  ["In the user interface", /^(show-|hidden|native|seamless|portica|wallpaper|pointer|switcher|language|idle)/],
];
const REST = "Everything else";

/**
 * `object` is a client's interface object, `values` what it said last.  `suggestions`: name of a property → what can
 * be chosen there, besides typing something else.
 */
export function properties(object, values, title, suggestions = {}) {
  const id = `properties-${object.interface_name.replaceAll(".", "-")}`;
  const rows = object.about.filter(([name]) => name in values);
  const list = h("div", {}, ...grouped(rows).map(([group, some]) => h("section", { class: "group" },
    h("h3", {}, group),
    h("dl", { class: "properties" }, ...some.map((row) => line(object, row, values[row[0]], suggestions[row[0]]))))));
  const search = h("input", { type: "search", id: `${id}-search`, oninput: () => filter(list, search.value) });
  return h("details", { class: "card", id },
    h("summary", {}, h("h2", {}, title), h("small", {}, `${rows.length}, with what they mean`)),
    h("p", { class: "field" }, h("label", { for: search.id }, "Find a property"), search), list);
}

/** Groups of rows; one group alone needs no parting. */
function grouped(rows) {
  const titles = [...GROUPS.map(([title]) => title), REST];
  const groupOf = ([name]) => (GROUPS.find(([, names]) => names.test(name)) || [REST])[0];
  return titles.map((title) => [title, rows.filter((row) => groupOf(row) === title)]).filter(([, some]) => some.length > 0);
}

function filter(list, text) {
  const wanted = text.toLowerCase();
  for (const item of list.querySelectorAll("[data-property]")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
  for (const group of list.children) group.hidden = !group.querySelector("[data-property]:not([hidden])");
}

function line(object, [name, type, access, meaning], value, suggested) {
  const id = `property-${object.interface_name.replaceAll(".", "-")}-${name}`;
  const is_editable = access === "readwrite" && (type === "s" || type === "b" || INTEGERS.includes(type));
  const field = is_editable ? editor(object, id, name, type, value, suggested) : h("output", { id }, shown(value));
  return h("div", { "data-property": name },
    h("dt", {}, h("label", { for: id }, name), meaning && h("small", { id: `${id}-about` }, meaning)),
    h("dd", {}, field));
}

function shown(value) {
  if (value === "" || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function editor(object, id, name, type, value, suggested) {
  const problem = h("span", { class: "problem", id: `${id}-problem`, role: "alert" });
  const input = h("input", {
    id,
    type: { b: "checkbox", s: "text" }[type] || "number",
    list: suggested && `${id}-list`,
    "aria-describedby": `${id}-about ${id}-problem`,
    onchange: () => save(object, name, type, input, problem),
  });
  show(input, type, value);
  input.saved = value;
  const list = suggested && h("datalist", { id: `${id}-list` }, ...suggested.map((value) => h("option", { value })));
  return h("span", { class: "field" }, input, list, problem);
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

/** What changed meanwhile, here or elsewhere; what a person is editing stays. */
export function showLive(values) {
  for (const item of document.querySelectorAll("[data-property]")) {
    const value = values[item.dataset.property];
    const output = item.querySelector("output");
    const input = item.querySelector("input");
    if (output) output.textContent = shown(value);
    else if (input !== document.activeElement && value !== undefined && value !== input.saved) {
      show(input, input.type === "checkbox" ? "b" : "s", value);
      input.saved = value;
    }
  }
}
