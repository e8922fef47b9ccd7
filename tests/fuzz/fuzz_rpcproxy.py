# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets guided by coverage: `fuzz_rpcproxy.py TARGET [RUNS]`, after `pip install -e '.[fuzz]'`.

Begins with the seeds of the targets, says how many runs there were and how much memory they took, and ends
with the input that broke a promise, if any did.  Not part of `make test`.
"""

import logging
import resource
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "fuzz"), str(ROOT / "tests" / "unit" / "rpcproxy")]

with atheris.instrument_imports(include=["openxt_rpcproxy", "openxt_bus", "openxt_core"]):
    from rpcproxy_targets import SEEDS, TARGETS

MAX_INPUT = 1024
WARM_UP = 2000  # runs after which memory is looked at


class Counted:
    """A target; says how much memory it took when it has run that often: nothing is run after the last."""

    def __init__(self, name: str, runs: int) -> None:
        self._name, self._runs = name, runs
        self._count = self._first_kib = 0

    def __call__(self, data: bytes) -> None:
        self._count += 1
        TARGETS[self._name](data)
        if self._count == WARM_UP:
            self._first_kib = peak_kib()
        if self._count == self._runs:
            grown = peak_kib() - self._first_kib
            print(
                f"{self._name}: {self._count} runs, peak memory grew by {grown} KiB after {WARM_UP}",
                flush=True,
            )


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(name: str, runs: int) -> None:
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-runs={runs}", f"-max_len={MAX_INPUT}", "-verbosity=1", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, corpus], Counted(name, runs))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
