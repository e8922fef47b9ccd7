# SPDX-License-Identifier: GPL-2.0-or-later
"""Interface tables plus implementations → answers to method calls.

One `ObjectTree` per daemon says which faces are at which paths; a fresh, cheap `Service` is made for
each call, so a thousand VMs cost no objects.  Introspectable and Peer are on every node, Properties on
every object, ObjectManager on `/` when asked for.  Talks to no bus: `connection` brings the calls.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from openxt_bus import introspect, properties
from openxt_bus.routes import Exists, Key, Node, Place, locate
from openxt_core.errors import (
    BadRequest,
    InvalidArgs,
    Refused,
    UnknownInterface,
    UnknownMethod,
    UnknownObject,
)
from openxt_core.signature import Variant
from openxt_core.spec import Call, Emitter, Interface, Method, Service, Value, attribute

Answer: TypeAlias = tuple[str, Sequence[Value]]
"""Signature and body of a reply."""

MAX_REMEMBERED_PATHS = 16384
MAX_REMEMBERED_LENGTH = 256

_call = lru_cache(maxsize=1024)(Call)  # the same caller mostly asks for the same thing again


class Request(Protocol):
    """What is read of a method call (a D-Bus message has it all)."""

    path: Any
    interface: Any
    member: Any
    signature: str
    sender: Any


@dataclass(frozen=True)
class Face:
    """An interface, and how to make its implementation for one call."""

    spec: Interface
    make: Callable[[Call], Service]
    is_reusable: bool = False
    """What was made for a call may carry out later ones that differ in nothing but their arguments: it keeps
    nothing of a call, and whether it can be made depends on the call alone."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One method, ready to run; `outs` is the number of out arguments."""

    in_signature: str
    out_signature: str
    outs: int
    run: Callable[[Call, Sequence[Value]], Any]
    bind: Callable[[Call], Callable[..., Any]] | None = None
    """Where the face is reusable: the method itself, for calls like this one."""

    def answer(self, result: Any) -> Answer:
        """What the method returned, as a reply: nothing, one value or a tuple."""
        if self.outs == 1:
            return self.out_signature, (result,)
        return self.out_signature, tuple(result) if self.outs else ()


@dataclass(frozen=True)
class Content:
    """What is at a node; no faces at a node that only leads to others."""

    faces: Mapping[str, Face]
    handlers: Mapping[tuple[str, str], Handler]
    xml: str


@dataclass
class ObjectTree:
    """Which objects there are, and what answers their calls."""

    _root: Node[Content] = field(default_factory=Node)
    _places: dict[str, Place[Content]] = field(default_factory=dict)
    _managed: bool = False
    forgetful: list[Callable[[], None]] = field(default_factory=list)
    """Called whenever another handler may answer a call."""

    def __post_init__(self) -> None:
        self._fill()

    def route(
        self,
        pattern: str,
        *faces: Face,
        exists: Exists | None = None,
        children: Callable[[Key], Iterable[str]] | None = None,
    ) -> None:
        """Put `faces` at every path that fits `pattern`, such as `/vm/{vm}/disk/{disk}`.

        `exists(key)` says whether the object is there, where `key` holds what the `{…}` matched;
        without it every fitting path is.  `children(key)` names the nodes directly below the object
        (beside the literal ones, which are known); a route without faces may carry it:
        `route("/vm", children=lambda key: names_of_all_vms())`.
        """
        node = self._root.insert(pattern)
        node.exists, node.children = exists, children
        node.content = self._content(node, faces)
        self._fill()
        self._places.clear()
        self._forget()

    def managed(self) -> None:
        """Offer org.freedesktop.DBus.ObjectManager on `/`."""
        self._managed = True
        self._root.content = self._content(self._root, self._faces(self._root))
        self._forget()

    def _forget(self) -> None:
        for forget in self.forgetful:
            forget()

    def find(self, request: Request) -> tuple[Place[Content], Handler] | None:
        """Where a call goes, and what answers it; None when it is an error."""
        place = self._places.get(request.path)
        if place is None or place.node.content is None:
            return None
        handler = place.node.content.handlers.get((request.interface, request.member))
        if handler is None or handler.in_signature != request.signature:
            return None
        return place, handler

    def handle(self, request: Request, body: Sequence[Value]) -> Answer | Awaitable[Answer]:
        """Answer a call at once, or say what to wait for.  Raises what the caller shall be told."""
        place = self._place(request.path)
        assert place.node.content is not None
        content = place.node.content
        handler = content.handlers.get((request.interface, request.member))
        if handler is None:
            raise self._unknown(request, content)
        if request.signature != handler.in_signature:
            raise InvalidArgs(f"{request.member} takes {handler.in_signature!r}, not {request.signature!r}")
        call = _call(request.sender, request.path, request.interface, request.member, place.key)
        result = handler.run(call, body)
        if hasattr(result, "__await__"):
            return answer_later(handler, result)
        return handler.answer(result)

    def _place(self, path: str) -> Place[Content]:
        place = self._places.get(path)
        if place is None:
            return self._remembered(path, locate(self._root, path))
        if place.checks and not place.is_there():
            raise UnknownObject(path)
        return place

    def _remembered(self, path: str, place: Place[Content] | None) -> Place[Content]:
        if place is None or not place.is_there():
            raise UnknownObject(path)
        if len(self._places) >= MAX_REMEMBERED_PATHS:
            self._places.clear()
        if len(path) <= MAX_REMEMBERED_LENGTH:
            self._places[path] = place
        return place

    def _unknown(self, request: Request, content: Content) -> Exception:
        if not content.faces:
            return UnknownObject(request.path)
        return UnknownMethod(request.member)

    def _fill(self) -> None:
        for node in self._root:
            if node.content is None:
                node.content = self._content(node, ())

    @staticmethod
    def _faces(node: Node[Content]) -> Sequence[Face]:
        return tuple(node.content.faces.values()) if node.content else ()

    def _content(self, node: Node[Content], faces: Sequence[Face]) -> Content:
        standard = self._standard(node, bool(faces))
        handlers: dict[tuple[str, str], Handler] = {}
        for face in faces:
            for method in face.spec.methods:
                handlers[face.spec.name, method.name] = _face_handler(face, method)
        for spec, runs in standard.items():
            for name, run in runs.items():
                handlers[spec.name, name] = _handler(spec.method[name], run)
        specs = [*standard, *(face.spec for face in faces)]
        xml = "".join(map(introspect.interface_xml, specs))
        return Content({face.spec.name: face for face in faces}, handlers, xml)

    def _standard(
        self, node: Node[Content], is_object: bool
    ) -> dict[Interface, dict[str, Callable[[Call, Sequence[Value]], Any]]]:
        runs: dict[Interface, dict[str, Callable[[Call, Sequence[Value]], Any]]] = {
            introspect.INTROSPECTABLE: {"Introspect": partial(_introspect, node)},
            introspect.PEER: {"Ping": lambda *_: None, "GetMachineId": _machine_id},
        }
        if is_object:
            runs[introspect.PROPERTIES] = {
                "Get": lambda call, body: properties.get(_service(node, call, body[0]), body[1]),
                "Set": lambda call, body: properties.set_(_service(node, call, body[0]), *body[1:]),
                "GetAll": lambda call, body: properties.answer_all(_service(node, call, body[0])),
            }
        if self._managed and node is self._root:
            runs[introspect.OBJECT_MANAGER] = {"GetManagedObjects": self._managed_objects}
        return runs

    async def _managed_objects(self, call: Call, body: Sequence[Value]) -> dict[str, Value]:
        """Those that refuse are left out: most are gone since they were listed."""
        found: dict[str, Value] = {}
        for path in self.paths():
            with contextlib.suppress(BadRequest, Refused):
                if path != "/":
                    found[path] = await self.properties_of(path, call.sender)
        return found

    def paths(self) -> Iterator[str]:
        """Paths of all objects that exist and can be listed, parents first."""
        yield from self._paths("/")

    def _paths(self, path: str) -> Iterator[str]:
        place = locate(self._root, path)
        if place is None or not place.is_there():
            return
        if place.node.content and place.node.content.faces:
            yield path
        for name in place.node.child_names(place.key):
            yield from self._paths(f"{path.rstrip('/')}/{name}")

    async def properties_of(self, path: str, sender: str = "") -> dict[str, dict[str, Variant]]:
        """All interfaces of an object with all their properties, as `sender` may see them."""
        place = self._place(path)
        found = {}
        for name, face in (place.node.content.faces if place.node.content else {}).items():
            call = Call(sender, path, introspect.PROPERTIES.name, "GetAll", place.key)
            values = properties.get_all(face.make(call))
            found[name] = values if isinstance(values, dict) else await values
        return found

    async def announce_added(self, emitter: Emitter, path: str) -> None:
        """Tell those who manage objects that `path` is there now, with all its properties."""
        body = (path, await self.properties_of(path))
        emitter.emit("/", introspect.OBJECT_MANAGER.name, "InterfacesAdded", "oa{sa{sv}}", body)

    def announce_removed(self, emitter: Emitter, path: str) -> None:
        """Tell those who manage objects that `path` is gone."""
        place = locate(self._root, path)
        faces = place.node.content.faces if place and place.node.content else {}
        emitter.emit("/", introspect.OBJECT_MANAGER.name, "InterfacesRemoved", "oas", (path, list(faces)))


def properties_changed(emitter: Emitter, path: str, spec: Interface, changed: Mapping[str, Value]) -> None:
    """Emit PropertiesChanged for an object; values are bare, their types come from `spec`."""
    values = {name: Variant(spec.property[name].type, value) for name, value in changed.items()}
    emitter.emit(path, introspect.PROPERTIES.name, "PropertiesChanged", "sa{sv}as", (spec.name, values, []))


def _handler(method: Method, run: Callable[[Call, Sequence[Value]], Any]) -> Handler:
    return Handler(method.in_signature, method.out_signature, len(method.outs), run)


def _face_handler(face: Face, method: Method) -> Handler:
    make, name = face.make, attribute(method.name)
    bind = (lambda call: getattr(make(call), name)) if face.is_reusable else None
    handler = _handler(method, lambda call, body: getattr(make(call), name)(*body))
    return replace(handler, bind=bind)


async def answer_later(handler: Handler, result: Awaitable[Any]) -> Answer:
    return handler.answer(await result)


def _service(node: Node[Content], call: Call, interface: str) -> Service:
    face = node.content.faces.get(interface) if node.content else None
    if face is None:
        raise UnknownInterface(interface)
    return face.make(call)


def _introspect(node: Node[Content], call: Call, _body: Sequence[Value]) -> str:
    assert node.content is not None
    return introspect.document(node.content.xml, node.child_names(call.key))


def _machine_id(_call: Call, _body: Sequence[Value]) -> str:
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if (path := Path(name)).is_file():
            return path.read_text().strip()
    raise UnknownMethod("GetMachineId: this host has no machine id")
