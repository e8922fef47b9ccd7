# SPDX-License-Identifier: GPL-2.0-or-later
"""How one argument of a D-Bus type is declared, sent, received and given up in generated C.  Pure.

Numbers go by value, texts as `char *`, arrays of texts as NULL-terminated lists, arrays of numbers as a
pointer and a count; whatever is more complex goes through a function of the caller that appends to, or
reads from, the message.  Received texts and arrays belong to the caller, who frees them.
Source: libsystemd's sd-bus.h, version 252.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openxt_core.signature import TEXTS, single

NUMBERS: Mapping[str, str] = {
    "y": "uint8_t",
    "b": "int",
    "n": "int16_t",
    "q": "uint16_t",
    "i": "int32_t",
    "u": "uint32_t",
    "x": "int64_t",
    "t": "uint64_t",
    "d": "double",
    "h": "int",
}
ARRAYS = frozenset(NUMBERS) - {"b", "h"}  # what sd-bus takes and gives as one piece of memory


@dataclass(frozen=True)
class Passing:
    """Lines of C for one argument `name`.  `drop` undoes a `read` when a later one failed."""

    ins: tuple[str, ...]  # parameters of a function that sends it
    append: str  # an expression: 0 or more, or a negative errno
    outs: tuple[str, ...]  # parameters of a function that receives it
    read: str
    clear: str = ""  # a statement before anything can fail
    drop: str = ""


def passing(type_: str, name: str) -> Passing:
    kind = single(type_)
    if kind.code in NUMBERS:
        return _number(type_, name)
    if kind.code in TEXTS:
        return _text(type_, name)
    inner = str(kind.children[0]) if kind.code == "a" else ""
    makers: tuple[tuple[bool, Callable[[str, str], Passing]], ...] = (
        (inner in ARRAYS, _array),
        (inner != "" and inner in TEXTS, _texts),
    )
    return next((make(inner, name) for fits, make in makers if fits), _function(name))


def _number(code: str, name: str) -> Passing:
    ctype = NUMBERS[code]
    return Passing(
        ins=(f"{ctype} IN_{name}",),
        append=f'sd_bus_message_append(m, "{code}", IN_{name})',
        outs=(f"{ctype} *OUT_{name}",),
        read=f"xc_read_fd(m, OUT_{name})"
        if code == "h"
        else f"sd_bus_message_read_basic(m, '{code}', OUT_{name})",
        clear=f"*OUT_{name} = {'-1' if code == 'h' else '0'};",
        drop=f"if (*OUT_{name} >= 0) close(*OUT_{name}), *OUT_{name} = -1;" if code == "h" else "",
    )


def _text(code: str, name: str) -> Passing:
    return Passing(
        ins=(f"const char *IN_{name}",),
        append=f"sd_bus_message_append_basic(m, '{code}', IN_{name})",
        outs=(f"char **OUT_{name}",),
        read=f"xc_read_text(m, '{code}', OUT_{name})",
        clear=f"*OUT_{name} = NULL;",
        drop=f"free(*OUT_{name}), *OUT_{name} = NULL;",
    )


def _array(code: str, name: str) -> Passing:
    ctype = NUMBERS[code]
    return Passing(
        ins=(f"const {ctype} *IN_{name}", f"size_t IN_{name}_n"),
        append=f"sd_bus_message_append_array(m, '{code}', IN_{name}, IN_{name}_n * sizeof *IN_{name})",
        outs=(f"{ctype} **OUT_{name}", f"size_t *OUT_{name}_n"),
        read=f"xc_read_array(m, '{code}', (void **) OUT_{name}, OUT_{name}_n, sizeof **OUT_{name})",
        clear=f"*OUT_{name} = NULL, *OUT_{name}_n = 0;",
        drop=f"free(*OUT_{name}), *OUT_{name} = NULL, *OUT_{name}_n = 0;",
    )


def _texts(code: str, name: str) -> Passing:
    return Passing(
        ins=(f"const char *const *IN_{name}",),
        append=f"xc_append_texts(m, '{code}', IN_{name})",
        outs=(f"char ***OUT_{name}",),
        read=f"sd_bus_message_read_strv(m, OUT_{name})",
        clear=f"*OUT_{name} = NULL;",
        drop=f"xc_free_texts(*OUT_{name}), *OUT_{name} = NULL;",
    )


def _function(name: str) -> Passing:
    return Passing(
        ins=(f"xc_message_fn IN_{name}", f"void *IN_{name}_data"),
        append=f"IN_{name}(m, IN_{name}_data)",
        outs=(f"xc_message_fn OUT_{name}", f"void *OUT_{name}_data"),
        read=f"OUT_{name}(m, OUT_{name}_data)",
    )
