#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure the promises of speed: one line each, `NAME RATIO FLOOR ok|below`; all of it in results.json.

Usage: run.py [--rounds N] [NAME…]      (a NAME may be the beginning of names; none: all)
"""

import argparse
import json
import sys

import dbd
import dbd_limits
import measurement
import rpcproxy
import rpcproxy_attacks
import xec
import xenmgr
import xenmgr_many
from harness import HERE, Missing, Promise, Result, room

PROMISES: tuple[Promise, ...] = (
    *dbd.PROMISES,
    *dbd_limits.PROMISES,
    *xenmgr.PROMISES,
    *xenmgr_many.PROMISES,
    *xec.PROMISES,
    *measurement.PROMISES,
    *rpcproxy.PROMISES,
    *rpcproxy_attacks.PROMISES,
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the promises of speed.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; none: all")
    options = parser.parse_args()
    chosen = [p for p in PROMISES if p.name.startswith(tuple(options.names) or "")]
    results = []
    try:
        with room() as here:
            for promise in chosen:
                result = Result(promise.name, promise.floor, promise.measure(here, options.rounds))
                print(result.line(), flush=True)
                results.append(result)
    except Missing as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    _save(results)
    return 0 if all(result.is_kept for result in results) else 1


def _save(results: list[Result]) -> None:
    rows = [
        {"name": r.name, "ratio": r.ratio, "floor": r.floor, "ok": r.is_kept, "rounds": r.ratios}
        for r in results
    ]
    (HERE / "results.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
