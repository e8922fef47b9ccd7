# SPDX-License-Identifier: GPL-2.0-or-later
"""What the page knows of VMs, in Node.js, with a bus that answers when the test says so."""

import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]

STATES = """
const answers = [], handlers = {};
const vm = { get_all_properties: (answer) => answers.push(answer) };
globalThis.XenClient = { DBus: new Proxy({}, { get: () => function () {
  return { com: { citrix: { xenclient: { xenmgr: { vm, host: { get_all_properties: () => {} } } } } } };
} }) };
globalThis.XUIDBus = { onLink() {}, onSignal: (name, handler) => { handlers[name] = handler; } };
const model = await import("./model.js");
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
const came_to = (state) => handlers["com.citrix.xenclient.xenmgr"](
  { member: "vm_state_changed", args: ["u", "/vm/u", state, 0] });

model.start();
model.loadVm("/vm/u");
answers.shift()({ name: "desk", state: "stopped" });
await settled();
came_to("creating");
came_to("running");
came_to("running");
answers.shift()({ name: "desk", state: "creating" });  // it was asked for before the VM ran
await settled();
console.log(answers.length);
answers.shift()({ name: "desk", state: "running" });
await settled();
console.log(model.stateOf("/vm/u"), answers.length);
"""


def test_an_answer_from_before_a_change_is_not_the_last(tmp_path: Path) -> None:
    for name in ("model.js", "bus.js"):
        shutil.copy(PROJECT / "uivm" / "js" / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "states.js").write_text(STATES)
    done = subprocess.run(["node", "states.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["1", "running 0", ""], done.stderr
