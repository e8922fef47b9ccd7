# SPDX-License-Identifier: GPL-2.0-or-later
"""What xec prints with --json: one JSON text a line.  Pure; loaded only when asked for.

Values are as a reader of JSON expects them: a variant is what it holds, bytes are an array of numbers, keys
are texts, and numbers beyond 2^53 are written in full.
"""

from __future__ import annotations

import json

from openxt_core.signature import Variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def line(value: Any) -> str:
    """The value as JSON, and a line end."""
    return json.dumps(plain(value), ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, dict):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
