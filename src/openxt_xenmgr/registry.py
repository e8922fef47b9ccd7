# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMs we know, and what is known of each besides its configuration: state, domain, locks, events.

Nothing here is stored: a restarted xenmgr finds all of it out again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from openxt_core.errors import BadRequest, OpenxtError, Unavailable
from openxt_core.ids import Domid, Uuid, underscored, vm_path
from openxt_xenmgr.vm.events import Event, ShutdownReason
from openxt_xenmgr.vm.states import State


@dataclass(eq=False)
class Waiter:
    accept: Callable[[State], bool]
    done: "asyncio.Future[State]"


@dataclass(eq=False)
class Vm:
    """One VM at run time."""

    uuid: Uuid
    state: State = State.SHUTDOWN
    domid: Domid | None = None
    guest_acpi: int = 0  # what the guest's ACPI said last; meaningful for HVM guests only
    reason: ShutdownReason = ShutdownReason.CREATION_FAILURE
    is_hvm: bool = False
    stubdom_uuid: str = ""  # of this run
    monitor: str = ""  # unique name of its xenvm on the bus; empty: none
    is_leaving: bool = False  # being deleted: nothing brings it back
    is_missing: bool = False  # not in the database when it was looked for last
    is_restarting: bool = False
    disks: set[int] = field(default_factory=set)
    nics: set[int] = field(default_factory=set)
    operation: asyncio.Lock = field(default_factory=asyncio.Lock)  # starts, restarts, deletion
    finding: asyncio.Lock = field(default_factory=asyncio.Lock)  # whether its monitor is there
    hooking: asyncio.Lock = field(default_factory=asyncio.Lock)  # soft hooks, one after another
    events: "deque[tuple[Event, asyncio.Future[None] | None]]" = field(default_factory=deque)
    is_draining: bool = False
    settling: "list[asyncio.Future[None]]" = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)

    @property
    def has_monitor(self) -> bool:
        return self.monitor != ""

    @property
    def path(self) -> str:
        return vm_path(self.uuid)

    @property
    def db(self) -> str:
        """Its place in the database."""
        return f"/vm/{self.uuid}"

    @property
    def domstore(self) -> str:
        return f"/dom-store/{self.uuid}"

    def enter(self, state: State) -> None:
        """Take a new state and tell those who wait for it."""
        self.state = state
        for waiter in tuple(self.waiters):
            if not waiter.done.done() and waiter.accept(state):
                waiter.done.set_result(state)

    def recheck(self) -> None:
        """Something besides the state changed that may be waited for."""
        self.enter(self.state)

    def abandon(self, why: OpenxtError) -> None:
        """What is waited for will not happen."""
        for waiter in tuple(self.waiters):
            if not waiter.done.done():
                waiter.done.set_exception(why)

    async def until(self, accept: Callable[[State], bool], timeout_s: float, what: str) -> State:
        """The first state from now on that `accept` likes.  Raises Unavailable after `timeout_s`."""
        if accept(self.state):
            return self.state
        waiter = Waiter(accept, asyncio.get_running_loop().create_future())
        self.waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.done
        except TimeoutError as late:
            raise Unavailable(
                f"VM {self.uuid} did not come to {what} within {timeout_s:g} s (it is {self.state})"
            ) from late
        finally:
            self.waiters.remove(waiter)


class Registry:
    """VMs by uuid, in the order in which they became known."""

    def __init__(self) -> None:
        self._vms: dict[Uuid, Vm] = {}
        self._by_element: dict[str, Vm] = {}  # by what stands for the uuid in object paths
        self.memory = asyncio.Lock()
        self.autostart_pending: list[Uuid] = []  # in the order in which they are to start

    def __iter__(self) -> Iterator[Vm]:
        return iter(tuple(self._vms.values()))

    def __len__(self) -> int:
        return len(self._vms)

    def find(self, uuid: str) -> Vm | None:
        return self._vms.get(Uuid(uuid))

    def at_element(self, element: str) -> Vm | None:
        """The VM whose uuid an element of an object path stands for."""
        return self._by_element.get(element)

    def need(self, uuid: Uuid) -> Vm:
        """Raises BadRequest for an unknown VM."""
        found = self._vms.get(uuid)
        if found is None:
            raise BadRequest(f"there is no VM {uuid}")
        return found

    def add(self, uuid: Uuid) -> Vm:
        """The VM of that uuid, made if it is new; it is in the database."""
        vm = self._vms.get(uuid)
        if vm is None:
            vm = self._vms[uuid] = self._by_element[underscored(uuid)] = Vm(uuid)
        vm.is_missing = False
        return vm

    def remove(self, uuid: Uuid) -> None:
        self._vms.pop(uuid, None)
        self._by_element.pop(underscored(uuid), None)

    def domid_of(self, uuid: str) -> Domid | None:
        """None for a VM that is unknown or has no domain."""
        found = self.find(uuid)
        return None if found is None else found.domid

    def of_domid(self, domid: int) -> Vm | None:
        return next((vm for vm in self._vms.values() if vm.domid == domid), None)
