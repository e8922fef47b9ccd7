# SPDX-License-Identifier: GPL-2.0-or-later
"""A request → its answer: files below one folder, and where the page finds rpc-proxy.  No sockets.

A path that leaves the folder, by dots or by a symbolic link, is a file that is not there.
"""

import mimetypes
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from openxt_uid.settings import Settings

MAX_FILE = 32 * 1024 * 1024
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
SECURITY = {
    # the rest a page says itself, as uivm/index.html does: those of 2015 have scripts in their text
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LogLine:
    """What a page wants in the log: `POST /log/LEVEL`."""

    level: int


def target(method: str, raw: str) -> str | LogLine | Answer:
    """The path of a file, a line for the log, or why it is neither."""
    path = unquote(urlsplit(raw).path)
    if method == "POST" and path.startswith("/log/"):
        return LogLine(LEVELS.get(path.removeprefix("/log/"), LEVELS["info"]))
    if method not in ("GET", "HEAD"):
        return Answer(405, b"only GET and HEAD\n", {"allow": "GET, HEAD"})
    return path


def file_answer(settings: Settings, path: str) -> Answer:
    """Reads the file; to be run where it may block."""
    if path == "/settings.js":
        return _answer(_settings_script(settings), "text/javascript")
    root = settings.files.resolve()
    wanted = root / (path.lstrip("/") or settings.root_file)
    try:
        found = wanted.resolve(strict=True)
        if not found.is_relative_to(root) or not found.is_file() or found.stat().st_size > MAX_FILE:
            return Answer(404, b"no such page\n")
        body = found.read_bytes()
    except (OSError, ValueError, RuntimeError):
        return Answer(404, b"no such page\n")
    return _answer(body, mimetypes.guess_type(found.name)[0] or "application/octet-stream")


def _settings_script(settings: Settings) -> bytes:
    port = settings.websocket_port
    return f"window.OPENXT_WS = {port};\n".encode() if port else b"// rpc-proxy is where it is by default\n"


def _answer(body: bytes, kind: str) -> Answer:
    is_text = kind.startswith("text/") or kind == "image/svg+xml"
    return Answer(200, body, {"content-type": f"{kind}; charset=utf-8" if is_text else kind})
