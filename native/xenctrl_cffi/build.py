# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile `_xenctrl_cffi`, our door to libxenctrl and libxenguest.  Nobody else knows a header path.

Run `python native/xenctrl_cffi/build.py [--out DIR]`; the default puts the module beside the packages in
src/.  API mode: the compiler takes struct layouts from the installed headers, so the module fits exactly
the Xen version it was built for, and must be built again for another one.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = "_xenctrl_cffi"
CDEFS = ("xenctrl.cdef", "xenguest.cdef")  # in this order: the second names types of the first
LIBRARIES = ("xenguest", "xenctrl")

# What must be there before we compile, as the preprocessor names it, and the Debian package that has it.
HEADERS = (
    ("Python.h", "python3-dev"),
    ("xenctrl.h", "libxen-dev"),
    ("xenguest.h", "libxen-dev"),
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


def compile_module(out: Path) -> Path:
    """Build in a temporary folder and move the module to `out`: no debris, never a half-written module."""
    import cffi

    ffi = cffi.FFI()
    for name in CDEFS:
        ffi.cdef((HERE / name).read_text())
    ffi.set_source(MODULE, (HERE / "glue.c").read_text(), libraries=list(LIBRARIES))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as scratch:
        built = Path(ffi.compile(tmpdir=scratch))
        return built.replace(out / built.name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the binding to libxenctrl and libxenguest.")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "src", help="folder for the module")
    arguments = parser.parse_args()
    package = missing_package()
    if package is not None:
        print(f"{MODULE} cannot be built: install the Debian package {package}", file=sys.stderr)
        return 1
    print(compile_module(arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
