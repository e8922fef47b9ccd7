/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a PVH guest finds its command line. */
#include "life.h"

/* Source: xen/include/public/arch-x86/hvm/start_info.h */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
};

void boot(const struct hvm_start_info *start)
{
	live("PVH", start->cmdline_paddr ? (const char *)(uint32_t)start->cmdline_paddr : "");
}
