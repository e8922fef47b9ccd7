# SPDX-License-Identifier: GPL-2.0-or-later
"""Host-wide settings: com.citrix.xenclient.xenmgr.config.  Keys are absolute.  Rows and small readers."""

from pathlib import Path

from openxt_core.errors import NotSupported
from openxt_core.spec import Value
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.facts import capability
from openxt_xenmgr.properties import forms
from openxt_xenmgr.properties.table import Effect, Live, Row, Stored, value_in
from openxt_xenmgr.vm.tree import with_leaf
from openxt_xenmgr.world import World

POWER_ACTIONS = ("sleep", "hibernate", "shutdown", "forced-shutdown", "reboot", "nothing")
SSH_SERVICE = "/etc/init.d/sshd"
V4V_SSH_SERVICE = "/etc/init.d/sshd_v4v"
RESTART_TIMEOUT_S = 30.0
CC = Effect.CONFIG


def _has(word: str) -> "Live[World]":
    return Live(word, "b", lambda world: capability(world.places, word) == "true")


def _switch(name: str, path: str, *, means_on: bool, service: str = "") -> "Live[World]":
    """A setting that is the presence of a file; `service` is restarted when it changes."""

    def read(world: World) -> bool:
        return world.places.at(path).exists() is means_on

    async def write(world: World, value: bool) -> None:
        script = world.places.at(service)
        if service and not script.exists():
            raise NotSupported(f"{name}: this host has no {service} to restart")
        put(world.places.at(path), value)
        if service:
            await programs.run(str(script), "restart", timeout_s=RESTART_TIMEOUT_S)

    def put(file: Path, value: bool) -> None:
        if value is means_on:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        else:
            file.unlink(missing_ok=True)

    return Live(name, "b", read, write)


ROWS: tuple[Row[World], ...] = (
    #      name                       key                                   default
    Stored("iso-path",                "xenmgr/isos",                        "/storage/isos",
           form=forms.FOLDER, effect=CC),
    Stored("autostart",               "xenmgr/autostart",                   True,  effect=CC),
    Stored("pvm-autostart-delay",     "xenmgr/pvm-autostart-delay",         0, least=0, effect=CC, unit="s"),
    Stored("svm-autostart-delay",     "xenmgr/svm-autostart-delay",         0, least=0, effect=CC, unit="s"),
    Stored("v4v-hosts-file",          "xenmgr/v4v-hosts-file",              True,  effect=CC),
    Stored("bypass-sha1sum-checks",   "xenmgr/bypass-sha1sum-checks",       False),
    Stored("xc-diag-timeout",         "xenmgr/xc-diag-timeout",             180, least=0, unit="s",
           effect=CC),
    Stored("platform-crypto-key-dirs", "xenmgr/platform-crypto-key-dirs",
           "/config/platform-crypto-keys", effect=CC),
    Stored("guest-only-networking",   "xenmgr/guest-only-networking",       False),
    Stored("vm-creation-allowed",     "vm-create-disallowed",               True, inverted=True, effect=CC),
    Stored("vm-deletion-allowed",     "vm-delete-disallowed",               True, inverted=True, effect=CC),
    Stored("ota-upgrades-allowed",    "ota-upgrades-disallowed",            True, inverted=True, effect=CC),
    Stored("connect-remote-desktop-allowed", "xenmgr/uiConnectRemoteDesktopAllowed", True, effect=CC),
    Stored("measure-fail-action",     "xenmgr/measure-fail-action",         "forced-shutdown",
           words=POWER_ACTIONS, effect=CC),
    Stored("v4v-firewall",            "xenmgr/v4v-firewall",                True),
    Stored("dom0-mem-target-mib",     "dom0-mem-target-mib",                256, least=0, unit="MiB"),
    Stored("autolock-cd-drives",      "xenmgr/autolock-cd-drives",          True),
    Live("use-networking-domain",     "b", lambda _: True),
    _has("secondary-gpu-pt"),
    _has("configurable-save-changes-across-reboots"),
    _switch("enable-ssh", "/config/etc/ssh/enabled", means_on=True, service=SSH_SERVICE),
    _switch("enable-v4v-ssh", "/config/etc/ssh/disable-v4v", means_on=False, service=V4V_SSH_SERVICE),
    _switch("enable-dom0-networking", "/config/system/dom0-networking-disabled", means_on=False),
)  # fmt: skip

STORED_BY_NAME = {row.name: row for row in ROWS if isinstance(row, Stored)}


async def setting(world: World, name: str) -> Value:
    """The value of a stored setting."""
    row = STORED_BY_NAME[name]
    leaf = await world.db.dump(f"/{row.key}")
    return value_in(row, {} if leaf is None else with_leaf({}, row.key, leaf))
