# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' commands: the table.  Source of names, options and defaults: OpenXT xenops, 2015."""

from openxt_xenvm.xenops import building, control, devices, figures
from openxt_xenvm.xenops.words import DOMID, Command, Opt, bitmap, number, one_of, text

NEW_MEMORY_KIB = 262144
NEW_CMDLINE = "root=/dev/sda1 ro"
NEW_KERNEL = "/boot/vmlinuz-2.6-xenU"

VCPUS = Opt("vcpus", number(1, 512))
MEMORY_KIB = Opt("memory", number(1), NEW_MEMORY_KIB)
FILE = Opt("file", text)
END = tuple(Opt(name, None, False) for name in control.ENDS)
HVM = tuple(Opt(name, None, False) for name in building.HVM_SWITCHES)
OEM_TYPES = Opt("smbios_oem_types_pt", text, "")
SPAN = (Opt("start", number()), Opt("end", number()))
IRQ = Opt("irq", number(0, 65535))
VCPU = Opt("vcpu", number(0, 511))
BACKEND = Opt("backend-domid", number(0, 0x7FEF), 0)
VIRTPATH = Opt("virtpath", devices.virtpath)
DEVID = Opt("devid", number(0, 65535))
PCI, PCI_DEVID = Opt("pci", devices.addresses), Opt("devid", number(0, 65535), 0)
DISK = (
    Opt("mode", one_of("r", "w")),
    Opt("phystype", text),
    Opt("physpath", text),
    VIRTPATH,
    Opt("devtype", one_of("disk", "cdrom"), "disk"),
    BACKEND,
)
CARD = (DEVID, Opt("mac", text, ""), Opt("netty", text, "bridge:xenbr0"), BACKEND)

NO_DM = "a device model belongs to a VM's monitor: xenvm starts it"

# fmt: off
COMMANDS = (
    Command("create_domain", "make an empty domain", building.create_domain,
            (Opt("hvm", None, False), Opt("vcpus", number(1, 512), 1)), ("init",)),
    Command("destroy_domain", "end a domain and remove what it had", building.destroy_domain,
            (DOMID,), ("destroy", "del")),
    Command("build_domain", "load a PV kernel", building.build_domain,
            (DOMID, VCPUS, MEMORY_KIB, Opt("kernel", text, NEW_KERNEL), Opt("cmdline", str, NEW_CMDLINE),
             Opt("ramdisk", str, "")), ("build",)),
    Command("build_hvm", "load HVM firmware", building.build_hvm,
            (DOMID, VCPUS, MEMORY_KIB, Opt("kernel", str, ""), *HVM, OEM_TYPES), ("hvmbuild",)),
    Command("setmaxmem", "limit memory (KiB)", control.setmaxmem, (DOMID, Opt("memory", number(1)))),
    Command("save_domain", "suspend to a new file", building.save_domain, (DOMID, FILE), ("suspend",)),
    Command("restore_domain", "restore into an empty PV domain", building.restore_domain,
            (DOMID, FILE, VCPUS, MEMORY_KIB), ("restore",)),
    Command("chkpoint_domain", "save to a new file and go on", building.chkpoint_domain,
            (DOMID, FILE, Opt("uncooperative", None, False)), ("chkpoint", "checkpoint")),
    Command("shutdown_domain", "ask a guest to end", control.shutdown,
            (DOMID, *END, Opt("sync", None, False)), ("shutdown",)),
    Command("hard_shutdown_domain", "have Xen stop a domain", control.hard_shutdown, (DOMID, *END)),
    Command("sysrq_domain", "send a SysRq key", control.sysrq, (DOMID, Opt("key", text)), ("sysrq",)),
    Command("pause_domain", "stop its vcpus", control.pause, (DOMID,), ("pause",)),
    Command("unpause_domain", "let them run", control.unpause, (DOMID,), ("unpause",)),
    Command("sched_domain", "set weight and cap", control.sched_set,
            (DOMID, Opt("weight", number(1, 65535)), Opt("cap", number(0, 65535)))),
    Command("sched_get", "print weight and cap", figures.sched_get, (DOMID,)),
    Command("affinity_set", "say where a vcpu may run", control.affinity_set,
            (DOMID, VCPU, Opt("bitmap", bitmap))),
    Command("affinity_get", "print where a vcpu may run", figures.affinity_get, (DOMID, VCPU)),
    Command("list_domains", "list all domains", figures.list_domains,
            (Opt("v", None, False),), ("list", "li")),
    Command("list_devices", "list a domain's devices", figures.list_devices, (DOMID,)),
    Command("add_vbd", "give it a disk", devices.add_vbd, (DOMID, *DISK), ("disk-add",)),
    Command("del_vbd", "take a disk away", devices.del_vbd, (DOMID, VIRTPATH, BACKEND)),
    Command("add_vif", "give it a network card", devices.add_vif, (DOMID, *CARD)),
    Command("del_vif", "take a network card away", devices.del_vif, (DOMID, DEVID, BACKEND)),
    Command("add_pci", "give it PCI devices", devices.add_pci, (DOMID, PCI, PCI_DEVID)),
    Command("del_pci", "take PCI devices away", devices.del_pci, (DOMID, PCI, PCI_DEVID)),
    Command("bind_pci", "take PCI devices from dom0's drivers", devices.bind_pci, (PCI,), ("pci-bind",)),
    Command("add_dm", "start a device model", None, (DOMID,), (), NO_DM),
    Command("add_ioport", "allow I/O ports", control.add_ioport, (DOMID, *SPAN)),
    Command("del_ioport", "forbid I/O ports", control.del_ioport, (DOMID, *SPAN)),
    Command("add_iomem", "allow I/O memory (bytes)", control.add_iomem, (DOMID, *SPAN)),
    Command("del_iomem", "forbid I/O memory (bytes)", control.del_iomem, (DOMID, *SPAN)),
    Command("add_irq", "allow an interrupt", control.add_irq, (DOMID, IRQ)),
    Command("del_irq", "forbid an interrupt", control.del_irq, (DOMID, IRQ)),
    Command("balloon", "ask a guest to hold so much (MiB)", control.balloon,
            (DOMID, Opt("memory", number()))),
    Command("dom-uuid", "print the uuid", figures.dom_uuid, (DOMID,), ("getuuid_domain",)),
    Command("watchdog", "set this domain's watchdog", control.watchdog,
            (Opt("slot", number(0, 65535)), Opt("timeout", number(0, 2**32 - 1)))),
    Command("set_target", "bind a stub domain to its VM's", control.set_target,
            (DOMID, Opt("target", number(0, 0x7FEF)))),
    Command("dmesg", "print the hypervisor's log", figures.dmesg),
    Command("debugkeys", "send debug keys to the hypervisor", control.debugkeys),
    Command("physinfo", "print figures of the host", figures.physinfo),
    Command("pcpuinfo", "print idle times of the processors", figures.pcpuinfo),
    Command("capabilities", "print what Xen can run", figures.capabilities),
    Command("getenforce", "print whether FLASK enforces", figures.getenforce),
    Command("setenforce", "have FLASK enforce, or not", control.setenforce, (Opt("enforce", number(0, 1)),)),
)
# fmt: on

BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
