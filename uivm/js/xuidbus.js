// SPDX-License-Identifier: GPL-2.0-or-later
// The message layer: D-Bus calls and signals as JSON over one WebSocket, which is made again when it is lost.
// A classic script, since pages of the original use XUIDBus as a global.  It knows no interface.
//
//   XUIDBus.connect("ws://host:8080");
//   XUIDBus.sendMessage(service, method, path, interface, args, success, failure);
//   XUIDBus.onSignal(interface, (signal) => …);        XUIDBus.onLink((is_up) => …);
//
// At most 30 calls are open at a time; more wait in a queue.  A call that is open when the link is lost fails
// with code 0 and the name "XUIDBus.LinkLost": whether it was carried out is not known.
"use strict";

// eslint-disable-next-line no-var
var XUIDBus = (function () {
  const BUS = "org.freedesktop.DBus";
  const BUS_PATH = "/org/freedesktop/DBus";
  const MAX_OPEN = 30;
  const RETRY_MS = [500, 1000, 2000, 5000];

  let url = "";
  let socket = null;
  let is_up = false;
  let tries = 0;
  let next_id = 1;
  const open = new Map(); // id → call
  const waiting = [];
  const signal_listeners = new Map(); // interface → list of functions
  const link_listeners = [];

  function connect(to) {
    url = to;
    const mine = new WebSocket(url);
    socket = mine;
    mine.onopen = hello;
    mine.onmessage = (event) => receive(event.data);
    mine.onclose = () => {
      if (socket === mine) lost();
    };
  }

  function hello() {
    send({ destination: BUS, path: BUS_PATH, interface: BUS, method: "Hello", args: [] }, () => {
      tries = 0;
      for (const name of signal_listeners.keys()) add_match(name);
      is_up = true;
      link_listeners.forEach((listener) => listener(true));
      drain();
    }, () => socket.close());
  }

  function lost() {
    const was_up = is_up;
    is_up = false;
    const failed = [...open.values()];
    open.clear();
    failed.forEach((call) => call.failure && call.failure(failure_of("XUIDBus.LinkLost", "the connection was lost")));
    if (was_up) link_listeners.forEach((listener) => listener(false));
    setTimeout(() => connect(url), RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
    tries += 1;
  }

  function failure_of(name, text) {
    const found = /^(\d+):\s*(.*)$/s.exec(text);
    return { name, code: found ? Number(found[1]) : 0, message: found ? found[2] : text };
  }

  function send(message, success, failure) {
    const id = next_id;
    next_id += 1;
    open.set(String(id), { success, failure });
    socket.send(JSON.stringify({ id, ...message }));
  }

  function drain() {
    while (is_up && waiting.length > 0 && open.size < MAX_OPEN) {
      const call = waiting.shift();
      send(call.message, call.success, call.failure);
    }
  }

  function sendMessage(destination, method, path, interface_name, args, success, failure) {
    const message = {
      destination,
      method,
      path: path || "/",
      interface: interface_name || destination,
      args: typeof args === "string" ? [args] : args || [],
    };
    waiting.push({ message, success, failure });
    drain();
  }

  function receive(text) {
    const message = JSON.parse(text);
    if (message.type === "signal") {
      (signal_listeners.get(message.interface) || []).forEach((listener) => listener(message));
      return;
    }
    const call = open.get(String(message["response-to"]));
    if (!call) return;
    open.delete(String(message["response-to"]));
    if (message.type === "response" && call.success) call.success(...message.args);
    if (message.type === "error" && call.failure) {
      call.failure(failure_of(message.name, message.args.map(String).join(", ")));
    }
    drain();
  }

  function add_match(interface_name) {
    const rule = `type='signal',interface='${interface_name}'`;
    send({ destination: BUS, path: BUS_PATH, interface: BUS, method: "AddMatch", args: [rule] });
  }

  function onSignal(interface_name, listener) {
    const listeners = signal_listeners.get(interface_name) || [];
    if (listeners.length === 0 && is_up) add_match(interface_name);
    signal_listeners.set(interface_name, [...listeners, listener]);
  }

  function onLink(listener) {
    link_listeners.push(listener);
  }

  return { connect, sendMessage, onSignal, onLink };
})();
