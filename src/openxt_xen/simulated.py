# SPDX-License-Identifier: GPL-2.0-or-later
"""`Hypervisor` kept by the simulated host (`openxt-sim`), over its socket.

Blocking and thread-safe: one call at a time.  Beyond the protocol it has what tests ask of the simulation.
"""

import errno as errno_names
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import (
    DomainInfo,
    DomainSpec,
    HvmBuilt,
    HvmImageSpec,
    HvmParam,
    ImageSpec,
    Kind,
    PhysInfo,
    PowerButton,
    Rings,
    SaveTalk,
    ShutdownReason,
    Version,
    XenError,
)

TIMEOUT_S = 30.0
SAVED = b"OPENXT SIMULATED DOMAIN 1\n"
_LENGTH = struct.Struct("<I")


class SimulatedHypervisor:
    def __init__(self, path: str) -> None:
        """Raises Unavailable when nobody listens at `path`."""
        self._path = path
        self._is_closed = False
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no simulated host at {path}: {error.strerror}") from error

    def close(self) -> None:
        self._is_closed = True
        self._socket.close()

    # The host

    def version(self) -> Version:
        return Version(**self._call("version"))

    def physinfo(self) -> PhysInfo:
        return PhysInfo(**self._call("physinfo"))

    def domains(self) -> Sequence[DomainInfo]:
        return [info_of(fields) for fields in self._call("domains")]

    def info(self, domid: Domid) -> DomainInfo | None:
        fields = self._call("info", domid=domid)
        return info_of(fields) if fields else None

    def read_console_ring(self) -> str:
        return str(self._call("read_console_ring"))

    # Life

    def create_domain(self, spec: DomainSpec) -> Domid:
        return Domid(self._call("create_domain", spec=asdict(spec)))

    def destroy_domain(self, domid: Domid) -> None:
        self._call("destroy_domain", domid=domid)

    def pause(self, domid: Domid) -> None:
        self._call("pause", domid=domid)

    def unpause(self, domid: Domid) -> None:
        self._call("unpause", domid=domid)

    def shutdown(self, domid: Domid, reason: ShutdownReason) -> None:
        self._call("shutdown", domid=domid, reason=reason)

    def resume(self, domid: Domid, *, fast: bool) -> None:
        self._call("resume", domid=domid, fast=fast)

    def save(self, domid: Domid, descriptor: int, talk: SaveTalk, *, live: bool) -> None:
        """The stream is a line that says so, and a line with what the simulated host makes of the guest."""
        info = self.info(domid)
        if info is None:
            raise XenError("save", errno_names.ESRCH)
        if live and info.kind is Kind.HVM:
            talk.log_dirty(True)
        if not talk.suspend():
            raise XenError("save", errno_names.EIO, "the guest was not suspended")
        text = SAVED + orjson.dumps(self._call("save", domid=domid, live=live)) + b"\n"
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(text)
        except OSError as error:
            raise XenError("save", error.errno or 0) from error

    def restore(self, domid: Domid, descriptor: int, store_port: int, console_port: int) -> Rings:
        if self.info(domid) is None:
            raise XenError("restore", errno_names.ESRCH)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            first, second = file.readline(), file.readline()  # what follows is not ours
        try:
            saved = orjson.loads(second) if first == SAVED else None
        except ValueError:
            saved = None
        if saved is None:
            raise XenError("restore", errno_names.EINVAL, "not the stream of a simulated domain")
        ports = {"store_port": store_port, "console_port": console_port}
        return Rings(**self._call("restore", domid=domid, saved=saved, **ports))

    def send_trigger(self, domid: Domid, trigger: int, vcpu: int = 0) -> None:
        self._call("send_trigger", domid=domid, trigger=trigger, vcpu=vcpu)

    def power_button(self, domid: Domid) -> PowerButton:
        return PowerButton(**self._call("power_button", domid=domid))

    # Memory

    def set_max_memory(self, domid: Domid, kib: int) -> None:
        self._call("set_max_memory", domid=domid, kib=kib)

    def set_memory_map_limit(self, domid: Domid, kib: int) -> None:
        self._call("set_memory_map_limit", domid=domid, kib=kib)

    def set_paging_pool(self, domid: Domid, kib: int) -> None:
        self._call("set_paging_pool", domid=domid, kib=kib)

    # Parts

    def set_target(self, domid: Domid, target: Domid) -> None:
        self._call("set_target", domid=domid, target=target)

    def alloc_unbound_port(self, domid: Domid, remote: Domid) -> int:
        return int(self._call("alloc_unbound_port", domid=domid, remote=remote))

    def set_hvm_param(self, domid: Domid, param: HvmParam, value: int) -> None:
        self._call("set_hvm_param", domid=domid, param=param, value=value)

    def get_hvm_param(self, domid: Domid, param: HvmParam) -> int:
        return int(self._call("get_hvm_param", domid=domid, param=param))

    def apply_cpuid_policy(
        self,
        domid: Domid,
        overrides: Mapping[tuple[int, int | None], Sequence[str | None]],
        *,
        pae: bool = True,
        itsc: bool = False,
        nested: bool = False,
    ) -> None:
        rows = [(leaf, subleaf, list(masks)) for (leaf, subleaf), masks in overrides.items()]
        self._call("apply_cpuid_policy", domid=domid, overrides=rows, pae=pae, itsc=itsc, nested=nested)

    def set_affinity(self, domid: Domid, vcpu: int, pcpus: Sequence[int]) -> None:
        self._call("set_affinity", domid=domid, vcpu=vcpu, pcpus=list(pcpus))

    def label_number(self, label: str) -> int:
        return int(self._call("label_number", label=label))

    def set_tsc_default(self, domid: Domid) -> None:
        self._call("set_tsc_default", domid=domid)

    def build_pv(self, domid: Domid, image: ImageSpec) -> Rings:
        return Rings(**self._call("build_pv", domid=domid, image=asdict(image)))

    def build_pvh(self, domid: Domid, image: ImageSpec) -> Rings:
        return Rings(**self._call("build_pvh", domid=domid, image=asdict(image)))

    def build_hvm(self, domid: Domid, image: HvmImageSpec) -> HvmBuilt:
        tables = {"acpi_table": image.acpi_table.hex(), "smbios": image.smbios.hex()}
        built = self._call("build_hvm", domid=domid, image=asdict(image) | tables)
        return HvmBuilt(**built | {"rings": Rings(**built["rings"])})

    # Parts of the machine

    def assign_device(self, domid: Domid, device: int) -> None:
        self._call("assign_device", domid=domid, device=device)

    def deassign_device(self, domid: Domid, device: int) -> None:
        self._call("deassign_device", domid=domid, device=device)

    def allow_ports(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        self._call("allow_ports", domid=domid, first=first, count=count, allow=allow)

    def allow_frames(self, domid: Domid, first: int, count: int, *, allow: bool) -> None:
        self._call("allow_frames", domid=domid, first=first, count=count, allow=allow)

    def map_interrupt(self, domid: Domid, irq: int) -> int:
        return int(self._call("map_interrupt", domid=domid, irq=irq))

    def unmap_interrupt(self, domid: Domid, pirq: int) -> None:
        self._call("unmap_interrupt", domid=domid, pirq=pirq)

    def allow_interrupt(self, domid: Domid, pirq: int, *, allow: bool) -> None:
        self._call("allow_interrupt", domid=domid, pirq=pirq, allow=allow)

    # What a test asks of the simulation

    def fail_next(self, call: str, errno: int, times: int = 1) -> None:
        """Let the next calls of that name fail and do nothing."""
        self._call("fail_next", call=call, errno=errno, times=times)

    def allowed(self, domid: Domid) -> list[tuple[str, int, int]]:
        """What of the machine a domain may use: kind, first, count."""
        found = self._call("allowed", domid=domid)
        return [(str(kind), int(first), int(count)) for kind, first, count in found]

    def crash(self, domid: Domid) -> None:
        """The guest crashes by itself."""
        self._call("crash", domid=domid)

    def reboot(self, domid: Domid) -> None:
        """The guest reboots by itself."""
        self._call("reboot", domid=domid)

    def tell(self, domid: Domid, words: str) -> None:
        """Change how a guest behaves from now on: `sim.…` words, as on a kernel's command line."""
        self._call("tell", domid=domid, words=words)

    def _call(self, name: str, **args: object) -> Any:
        if self._is_closed:
            raise XenError(name, errno_names.EBADF, "the handle is closed")
        request = orjson.dumps({"call": name, "args": args})
        with self._lock:
            try:
                self._socket.sendall(_LENGTH.pack(len(request)) + request)
                (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
                reply = orjson.loads(self._receive(length))
            except OSError as error:
                # Half an answer may still be on its way: no later call may take it for its own.
                self._socket.close()
                raise Unavailable(f"the simulated host at {self._path} does not answer: {error}") from error
        if "errno" in reply:
            raise XenError(name, reply["errno"], reply["detail"])
        return reply["result"]

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError("it closed the connection")
            data += chunk
        return data


def info_of(fields: dict[str, Any]) -> DomainInfo:
    """From what the simulated host sends."""
    reason = fields["shutdown"]
    return DomainInfo(
        **fields
        | {
            "domid": Domid(fields["domid"]),
            "uuid": Uuid(fields["uuid"]),
            "kind": Kind(fields["kind"]),
            "shutdown": None if reason is None else ShutdownReason(reason),
        }
    )
