# SPDX-License-Identifier: GPL-2.0-or-later
"""org.freedesktop.DBus.Properties over the interface tables: Get, Set, GetAll.

Types come from the table alone: a value travels in a variant of the declared type, and a Set with any
other variant is refused, never coerced.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from inspect import isawaitable
from typing import Any

from openxt_bus.message import Marshalled, content
from openxt_core.errors import InvalidArgs, OpenxtError, PropertyReadOnly, UnknownProperty
from openxt_core.signature import INTEGERS, Variant, check, single
from openxt_core.spec import Interface, MaybeAwaitable, Service, Value

log = logging.getLogger(__name__)

_PYTHON = {"s": str, "b": bool, "d": float}
_AT_HAND = frozenset({str, bool, int, float, bytes, list, dict})  # never awaitable, told fast


def get(service: Service, name: str) -> MaybeAwaitable[Variant]:
    """One property in a variant.  Raises UnknownProperty."""
    spec = service.SPEC
    row = spec.property.get(name)
    if row is None or not row.readable:
        raise UnknownProperty(f"{spec.name}.{name} is not readable, or does not exist")
    value = service.get_property(name)
    if isawaitable(value):
        return _typed_later(row.type, value)
    return Variant(row.type, value)


async def _typed_later(kind: str, value: Awaitable[Value]) -> Variant:
    return Variant(kind, await value)


def set_(service: Service, name: str, given: Variant) -> MaybeAwaitable[None]:
    """Raises UnknownProperty, PropertyReadOnly, or InvalidArgs for a variant of another type."""
    spec = service.SPEC
    row = spec.property.get(name)
    if row is None or not row.writable:
        refusal = UnknownProperty if row is None else PropertyReadOnly
        raise refusal(f"{spec.name}.{name} is not writable, or does not exist")
    if given.signature != row.type:
        raise InvalidArgs(f"{spec.name}.{name} is of type {row.type}, not {given.signature}")
    return service.set_property(name, given.value)


def get_all(service: Service) -> MaybeAwaitable[dict[str, Variant]]:
    """Every readable property that can be had; one that fails is logged and left out."""
    values = service.get_all()
    if values is None:
        values = _one_by_one(service)
    if isawaitable(values):
        return _all_later(service.SPEC, values)
    assert isinstance(values, Mapping)
    if any(type(value) not in _AT_HAND and isawaitable(value) for value in values.values()):
        return _all_later(service.SPEC, _gathered(service.SPEC, values))
    return _typed(service.SPEC, values)


_PADDING = 8  # a dict entry begins at a multiple of that
_EMPTY = bytes(_PADDING)  # the length of a dictionary, and what is between it and the entries


def answer_all(service: Service) -> MaybeAwaitable[dict[str, Variant] | Marshalled]:
    """As `get_all`, or what the service has made ready of it."""
    ready = service.get_all_marshalled()
    return get_all(service) if ready is None else ready


def entries(spec: Interface, values: Mapping[str, Value]) -> bytes:
    """These properties as entries of GetAll's answer; what cannot be sent is logged and left out."""
    return content("a{sv}", [_typed(spec, values)])[len(_EMPTY) :]


def of_entries(*parts: bytes) -> Marshalled:
    """GetAll's answer of several `entries`."""
    whole = b""
    for part in parts:
        if part:
            whole += bytes(-len(whole) % _PADDING) + part
    return Marshalled(len(whole).to_bytes(4, "little") + _EMPTY[4:] + whole)


def _one_by_one(service: Service) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row in service.SPEC.properties:
        if row.readable:
            try:
                values[row.name] = service.get_property(row.name)
            except Exception as error:  # noqa: BLE001  (one bad getter must not hide the others)
                _skip(service.SPEC, row.name, error)
    return values


async def _gathered(spec: Interface, values: Mapping[str, Any]) -> dict[str, Value]:
    waiting = {name: value for name, value in values.items() if isawaitable(value)}
    results = await asyncio.gather(*waiting.values(), return_exceptions=True)
    done = dict(values)
    for name, result in zip(waiting, results, strict=True):
        if isinstance(result, BaseException):
            _skip(spec, name, result)
            del done[name]
        else:
            done[name] = result
    return done


async def _all_later(spec: Interface, values: Awaitable[Mapping[str, Value]]) -> dict[str, Variant]:
    return _typed(spec, await values)


def _typed(spec: Interface, values: Mapping[str, Value]) -> dict[str, Variant]:
    typed: dict[str, Variant] = {}
    for row in spec.properties:
        if row.name in values and row.readable:
            value = values[row.name]
            try:
                _check(value, row.type)
            except OpenxtError as error:
                _skip(spec, row.name, error)
            else:
                typed[row.name] = Variant(row.type, value)
    return typed


def _check(value: Value, kind: str) -> None:
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        if type(value) is int and low <= value <= high:
            return
    elif kind in _PYTHON and type(value) is _PYTHON[kind]:
        return
    check(value, single(kind))


def _skip(spec: Interface, name: str, error: BaseException) -> None:
    trace = None if isinstance(error, OpenxtError) else error
    log.error("GetAll leaves out %s.%s: %s", spec.name, name, error, exc_info=trace)
