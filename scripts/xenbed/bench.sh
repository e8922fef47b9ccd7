#!/bin/sh
# In dom0: the start of a PV VM, ours against xl's.
exec python3 /openxt/bench/xen_start.py
