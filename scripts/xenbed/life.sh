#!/bin/sh
# In dom0: the life of a PV and of a PVH guest, through our daemons, on the real hypervisor.
set -e
xl info | grep -E '^(xen_version|virt_caps|total_memory|free_memory)'
if ! openxt-house --xen --dir /run/openxt --share /openxt --kinds pv,pvh \
    --kernel /guest/vmlinux --initrd /guest/initrd.gz --start-timeout 120; then
    tail -n 40 /run/openxt/log/*.log
    exit 1
fi
xl list
