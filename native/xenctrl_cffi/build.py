# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile our doors to Xen's libraries: `_xenctrl_cffi` to libxenctrl and libxenguest, `_xenvchan_cffi` to
libxenvchan.  Nobody else knows a header path.

Run `python native/xenctrl_cffi/build.py [--out DIR]`; the default puts the modules beside the packages in
src/.  API mode: the compiler takes struct layouts from the installed headers, so a module fits exactly
the Xen version it was built for, and must be built again for another one.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Door:
    """One module: what it declares, the C beside that, and what it is linked with."""

    module: str
    cdefs: tuple[str, ...]  # in this order: one may name types of those before it
    glue: str
    libraries: tuple[str, ...]


# Two, because rpc-proxy needs no domain builder and xenvm no channels.
XENCTRL = Door("_xenctrl_cffi", ("xenctrl.cdef", "xenguest.cdef"), "glue.c", ("xenguest", "xenctrl"))
XENVCHAN = Door("_xenvchan_cffi", ("xenvchan.cdef",), "vchan.c", ("xenvchan",))
DOORS = (XENCTRL, XENVCHAN)

# What must be there before we compile, as the preprocessor names it, and the Debian package that has it.
HEADERS = (
    ("Python.h", "python3-dev"),
    ("xenctrl.h", "libxen-dev"),
    ("xenguest.h", "libxen-dev"),
    ("libxenvchan.h", "libxen-dev"),
)


def missing_package() -> str | None:
    """The first Debian package that a build lacks; None when all are there."""
    try:
        import cffi  # noqa: F401
    except ImportError:
        return "python3-cffi"
    if shutil.which("cc") is None:
        return "gcc"
    return next((package for header, package in HEADERS if not has_header(header)), None)


def has_header(name: str) -> bool:
    include = ["-I", sysconfig.get_path("include")]
    command = ["cc", "-E", *include, "-include", name, "-x", "c", "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def compile_module(door: Door, out: Path) -> Path:
    """Build in a temporary folder and move the module to `out`: no debris, never a half-written module."""
    import cffi

    ffi = cffi.FFI()
    for name in door.cdefs:
        ffi.cdef((HERE / name).read_text())
    ffi.set_source(door.module, (HERE / door.glue).read_text(), libraries=list(door.libraries))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        built = Path(ffi.compile(tmpdir=scratch))
        return built.replace(out / built.name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the bindings to Xen's libraries.")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "src", help="folder for the modules")
    arguments = parser.parse_args()
    package = missing_package()
    if package is not None:
        print(f"the bindings to Xen cannot be built: install the Debian package {package}", file=sys.stderr)
        return 1
    for door in DOORS:
        print(compile_module(door, arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
