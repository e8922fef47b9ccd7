# SPDX-License-Identifier: GPL-2.0-or-later
"""Every XenStore path by name.  Pure: text in, text out.

`kind` is the word of a device in paths (`vbd`, `vif`, …); its frontend and backend words may differ.
"""

from openxt_core.ids import Domid, Uuid

INTRODUCE_DOMAIN = "@introduceDomain"
RELEASE_DOMAIN = "@releaseDomain"

DOMAINS = "/local/domain"
VMS = "/vm"
XENSTORED_DOMID = "/tool/xenstored/domid"
XENCONSOLED_DOMID = "/tool/xenconsoled/domid"


def domain(domid: Domid) -> str:
    """A domain's own folder; equals the answer of GET_DOMAIN_PATH."""
    return f"{DOMAINS}/{domid}"


def vm(uuid: Uuid) -> str:
    return f"{VMS}/{uuid}"


def vm_link(domid: Domid) -> str:
    """Holds the path of the domain's `/vm/UUID`."""
    return f"{domain(domid)}/vm"


def name(domid: Domid) -> str:
    return f"{domain(domid)}/name"


def target(domid: Domid) -> str:
    """In a stub domain's folder: the domid of the VM that it serves."""
    return f"{domain(domid)}/target"


def stubdomid(domid: Domid) -> str:
    """In a VM's folder: the domid of the stub domain that runs its device model."""
    return f"{domain(domid)}/image/device-model-domid"


def control(domid: Domid, word: str) -> str:
    """`shutdown`, `sysrq`, `feature-poweroff`, …"""
    return f"{domain(domid)}/control/{word}"


def shutdown_request(domid: Domid) -> str:
    return control(domid, "shutdown")


def memory(domid: Domid, word: str) -> str:
    """`target`, `static-max`, `videoram`: KiB, decimal."""
    return f"{domain(domid)}/memory/{word}"


def memory_target(domid: Domid) -> str:
    return memory(domid, "target")


def memory_static_max(domid: Domid) -> str:
    return memory(domid, "static-max")


def store(domid: Domid, word: str) -> str:
    """`port`, `ring-ref` of the domain's XenStore ring."""
    return f"{domain(domid)}/store/{word}"


def console(domid: Domid, word: str) -> str:
    """`port`, `ring-ref`, `limit`, `type`, `tty` of the first console."""
    return f"{domain(domid)}/console/{word}"


def vcpu_availability(domid: Domid, vcpu: int) -> str:
    """`online` or `offline`."""
    return f"{domain(domid)}/cpu/{vcpu}/availability"


def platform(domid: Domid, word: str) -> str:
    return f"{domain(domid)}/platform/{word}"


def frontends(domid: Domid) -> str:
    return f"{domain(domid)}/device"


def frontend(domid: Domid, kind: str, devid: int) -> str:
    return f"{frontends(domid)}/{kind}/{devid}"


def backends(backend_domid: Domid) -> str:
    return f"{domain(backend_domid)}/backend"


def backend(backend_domid: Domid, kind: str, domid: Domid, devid: int) -> str:
    return f"{backends(backend_domid)}/{kind}/{domid}/{devid}"


def state(device: str) -> str:
    """The xenbus state of a frontend's or backend's folder, decimal 1…6."""
    return f"{device}/state"


def device_error(domid: Domid, kind: str, devid: int) -> str:
    return f"{domain(domid)}/error/device/{kind}/{devid}/error"


def device_error_folder(domid: Domid, kind: str, devid: int) -> str:
    return f"{domain(domid)}/error/device/{kind}/{devid}"


def hotplug_of(domid: Domid) -> str:
    """What the host's scripts report of all devices of a domain."""
    return f"/xapi/{domid}"


def hotplug_of_kind(domid: Domid, backend_kind: str) -> str:
    """The same of all its devices of a kind."""
    return f"{hotplug_of(domid)}/hotplug/{backend_kind}"


def hotplug(domid: Domid, backend_kind: str, devid: int) -> str:
    """Private folder in which the host's scripts report."""
    return f"{hotplug_of_kind(domid, backend_kind)}/{devid}"


def hotplug_done(domid: Domid, backend_kind: str, devid: int) -> str:
    """Written by the hotplug script (`online`), removed when the device is gone."""
    return f"{hotplug(domid, backend_kind, devid)}/hotplug"


def v4v_offers(domid: Domid, destination: Domid, port: int) -> str:
    """A folder for each stream that the domain offers to a port of another one; the domain owns it."""
    return f"{domain(domid)}/{own_v4v_offers(destination, port)}"


def own_v4v_offers(destination: Domid, port: int) -> str:
    """The same for the domain that asks, whichever it is."""
    return f"data/v4v/{destination}/{port}"


def agent(domid: Domid, word: str) -> str:
    """`capabilities`, `target` of the dm-agent in a domain."""
    return f"{domain(domid)}/dm-agent/{word}"


def agent_models(domid: Domid, served: Domid) -> str:
    """Where a dm-agent is told which device models a domain needs."""
    return agent(domid, f"dms/{served}")


def device_model(dm_domid: Domid, domid: Domid) -> str:
    """Where a domain and the device model in it talk about the domain that it serves."""
    return f"{domain(dm_domid)}/device-model/{domid}"


def device_model_state(dm_domid: Domid, domid: Domid) -> str:
    """`running` once a stock QEMU serves the domain."""
    return f"{device_model(dm_domid, domid)}/state"
