// SPDX-License-Identifier: GPL-2.0-or-later
// What a page of the original does with generated clients, run by node: JSON texts that end with a NUL byte.
// Usage: node page.js SOCKET CLIENT.js...
"use strict";
const fs = require("fs");
const net = require("net");
const vm = require("vm");

const [socketPath, ...scripts] = process.argv.slice(2);
const socket = net.connect(socketPath);
const open = new Map();
let received = "";
let id = 0;

globalThis.XUIDBus = {
  sendMessage(destination, method, path, interface_name, args, success, failure) {
    id += 1;
    open.set(String(id), { success, failure });
    socket.write(JSON.stringify({ id, destination, method, path, interface: interface_name, args }) + "\0");
  },
};
for (const script of scripts) vm.runInThisContext(fs.readFileSync(script, "utf8"), script);

socket.on("data", (data) => {
  received += data;
  const texts = received.split("\0");
  received = texts.pop();
  texts.map((text) => JSON.parse(text)).forEach((message) => {
    const call = open.get(message["response-to"]);
    open.delete(message["response-to"]);
    if (message.type === "response") call.success(...message.args);
    if (message.type === "error") call.failure(message);
  });
});

const bus = new XenClient.DBus.DbusClient("org.freedesktop.DBus", "/org/freedesktop/DBus").org.freedesktop.DBus;
const host = new XenClient.DBus.XenmgrHostClient("com.citrix.xenclient.xenmgr", "/host");
const db = new XenClient.DBus.DbClient("com.citrix.xenclient.db", "/").com.citrix.xenclient.db;
const fail = (error) => { console.log("failed", error.name); socket.end(); };

bus.Hello(() => {
  db.write("/key", "value", () => {
    db.read("/key", (value) => {
      console.log("read", value);
      host.com.citrix.xenclient.xenmgr.host.shutdown(fail, (error) => {
        console.log("refused", error.name);
        console.log("properties", host.com.citrix.xenclient.xenmgr.host.properties.length);
        socket.end();
      });
    }, fail);
  }, fail);
}, fail);
