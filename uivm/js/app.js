// SPDX-License-Identifier: GPL-2.0-or-later
// Which view is shown for which address, and when it is drawn again.

/* global XUIDBus */

import { h, tell } from "./dom.js";
import { onChange, start, state } from "./model.js";
import { details, refresh } from "./views/details.js";
import { events } from "./views/events.js";
import { host } from "./views/host.js";
import { list } from "./views/list.js";
import { updates } from "./views/updates.js";
import { wizard } from "./views/wizard.js";

const DEFAULT_PORT = 8080;

//  beginning of the address, view, the changes after which it is drawn again, or what follows them instead
const ROUTES = [
  ["#/vm/", (hash) => details(hash.slice("#".length)), refresh],
  ["#/services", () => list("service"), ["vms", "vm", "host"]],
  ["#/new", wizard, []],
  ["#/host", host, redrawCards],
  ["#/updates", updates, redrawCards],
  ["#/events", events, ["events"]],
  ["#/vms", () => list("user"), ["vms", "vm", "host"]],
];

const main = document.querySelector("main");
let drawing = 0;
let is_loaded = false;

const hash = () => location.hash || "#/vms";
const route = () => ROUTES.find(([start_of]) => hash().startsWith(start_of)) || ROUTES[ROUTES.length - 1];

async function draw(moves_focus) {
  const mine = ++drawing;
  const [address, view] = route();
  const current = address === "#/vm/" || address === "#/new" ? "#/vms" : address;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    const content = await view(hash());
    if (mine !== drawing) return; // another view was asked for meanwhile
    main.replaceChildren(...content.filter(Boolean));
    main.dataset.view = hash();
    const title = main.querySelector("h1");
    document.title = `${title.textContent.trim()} – OpenXT`;
    if (moves_focus) main.focus({ preventScroll: true });
    if (moves_focus) window.scrollTo(0, 0);
  } catch (error) {
    if (mine === drawing) main.replaceChildren(h("h1", {}, "This cannot be shown"), h("p", { class: "problem" }, error.message));
  }
}

function onModel(kind, path) {
  if (kind === "link") onLink();
  if (kind === "services") document.getElementById("updates-link").hidden = !state.services.updates;
  const is_first = kind === "vms" && !is_loaded;
  if (is_first) is_loaded = true;
  if (!is_loaded) return;
  const [, , follows] = route();
  if (is_first) draw(false);
  else if (Array.isArray(follows)) {
    if (follows.includes(kind)) draw(false);
  } else follows(kind, path, hash().slice("#".length));
}

/** Each card looks for itself. */
function redrawCards(kind) {
  const cards = document.querySelectorAll(`.card[data-follows~="${kind}"]`);
  cards.forEach((one) => one.redraw());
}

function onLink() {
  document.getElementById("link").textContent = state.is_up ? "" : "Not connected: trying again…";
  document.body.classList.toggle("offline", !state.is_up);
  if (!state.is_up) tell("The connection to the host was lost.", "warning");
}

/** `?ws=8081` or `?ws=ws://host:port`: for servers that are not where they are by default. */
function address() {
  const asked = new URLSearchParams(location.search).get("ws") || String(window.OPENXT_WS || DEFAULT_PORT);
  return /^\d+$/.test(asked) ? `ws://${location.hostname}:${asked}` : asked;
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address belongs to the views
  main.focus();
});
window.addEventListener("hashchange", () => draw(true));
onChange(onModel);
start();
XUIDBus.connect(address());
