# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's properties: com.citrix.xenclient.xenmgr.host.  Rows and their small readers.

Each has a sensible answer on a machine that lacks its file: empty, zero or false.
"""

from openxt_core.spec import Value
from openxt_xenmgr.host import facts, programs
from openxt_xenmgr.links.input import NAME as INPUT
from openxt_xenmgr.links.nodes import HOST_STATE, UI_READY
from openxt_xenmgr.properties import forms
from openxt_xenmgr.properties.table import Live, Row, Stored, check_allowed
from openxt_xenmgr.vm.balloon import ballooned
from openxt_xenmgr.vm.focus import graphics_fallback
from openxt_xenmgr.world import World

KIB_PER_MIB = 1024
PORTABLE = frozenset({"laptop", "notebook", "portable"})
_STATES = {
    "shutting-down": "shutdowning",  # sic
    "rebooting": "rebooting",
    "going-to-sleep": "sleeping",
    "going-to-hibernate": "hibernating",
}


async def _state(world: World) -> str:
    return public_state(await world.nodes.xs.read(HOST_STATE) or "")


def public_state(word: str) -> str:
    """What clients see for a host state of ours."""
    return _STATES.get(word, "idle")


async def _total_mem(world: World) -> int:
    return (await world.memory.physinfo()).total_kib // KIB_PER_MIB


async def _free_mem(world: World) -> int:
    return (await world.memory.physinfo()).free_kib // KIB_PER_MIB


async def _available_mem(world: World) -> int:
    """Free memory, and what running VMs have above their minimum."""
    spare_kib = sum(one.spare_kib for one in await ballooned(world))
    return ((await world.memory.physinfo()).free_kib + spare_kib) // KIB_PER_MIB


async def _cpu_count(world: World) -> int:
    return (await world.memory.physinfo()).nr_cpus


async def _laptop(_world: World) -> bool:
    return (await facts.dmi("chassis-type")).lower() in PORTABLE


def _dmi(name: str, key: str) -> "Live[World]":
    return Live(name, "s", lambda _: facts.dmi(key))


def _mac(name: str, interface: str) -> "Live[World]":
    return Live(name, "s", lambda world: facts.mac_of(world.places, interface))


def _exists(name: str, path: str) -> "Live[World]":
    return Live(name, "b", lambda world: world.places.at(path).exists())


async def _ui_ready(world: World) -> bool:
    return await world.nodes.xs.read(UI_READY) == "true"


async def _set_ui_ready(world: World, value: bool) -> None:
    """Only the first time counts, and only true: a host on which nothing has the focus shows its UI."""
    if value and not await _ui_ready(world):
        if world.peers.has(INPUT) and not await world.input.has_focus():
            fallback = await graphics_fallback(world)
            if fallback is not None and fallback.domid is not None:
                await world.input.switch_focus(fallback.domid)
        await world.nodes.xs.write(UI_READY, "true")


async def _gpu_model(_world: World) -> str:
    lines = (await programs.output_of("lspci", "-nn")).splitlines()
    models = (line.split(":", 2)[2].strip() for line in lines if "[0300]" in line and line.count(":") > 1)
    return next(models, "")


def _pcm(name: str, key: str) -> "Live[World]":
    async def read(world: World) -> str:
        return await world.db.read(key) or "00-00"

    row = Stored(name, key, "00-00", form=forms.PCM)

    async def write(world: World, value: Value) -> None:
        check_allowed(row, value)
        program = programs.needed("update-pcm-config", "OpenXT's audio scripts")
        await world.db.write(key, str(value))
        await programs.run(program)

    return Live(name, "s", read, write)


ROWS: tuple[Row[World], ...] = (
    #    name                       type  read
    Live("state",                   "s",  _state),
    Live("total-mem",               "i",  _total_mem),
    Live("free-mem",                "i",  _free_mem),
    Live("avail-mem",               "i",  _available_mem),
    Live("total-storage",           "i",  lambda world: facts.storage_mib(world.places)[0]),
    Live("free-storage",            "i",  lambda world: facts.storage_mib(world.places)[1]),
    Stored("system-amt-pt",         "system-amt-pt-active", False),
    Live("cpu-count",               "i",  _cpu_count),
    Live("laptop",                  "b",  _laptop),
    _dmi("model",                   "system-product-name"),
    _dmi("vendor",                  "system-manufacturer"),
    _dmi("serial",                  "system-serial-number"),
    _dmi("bios-revision",           "bios-version"),
    Live("amt-capable",             "b",  lambda world: facts.has_amt(world.places)),
    _mac("eth0-mac",                "eth0"),
    Live("eth0-model",              "s",  lambda world: facts.pci_model(world.places, 0x0200)),
    _mac("wireless-mac",            "wlan0"),
    Live("wireless-model",          "s",  lambda world: facts.pci_model(world.places, 0x0280)),
    Live("physical-cpu-model",      "s",  lambda _: facts.cpu_model()),
    Live("physical-gpu-model",      "s",  _gpu_model),
    Live("safe-graphics",           "b",  lambda world: "safe-graphic" in facts.kernel_words(world.places)),
    _exists("measured-boot-enabled",    "/boot/system/tpm/enabled"),
    _exists("measured-boot-successful", "/config/tpm/measured-boot"),
    Live("is-licensed",             "b",  lambda _: True),
    Live("build-info",              "a{ss}", lambda world: facts.build_information(world.places)),
    Live("ui-ready",                "b",  _ui_ready, _set_ui_ready),
    _pcm("playback-pcm",            "/audio/playback-pcm"),
    _pcm("capture-pcm",             "/audio/capture-pcm"),
)  # fmt: skip
