/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 64-bit PV guest on the page tables that the domain builder made.  Its virtual base is 0, so the virtual
 * address of a page is its pfn times the page size; start_info names the ring pages by machine frame.
 */
#include "life.h"

/* Source: struct start_info in xen/include/public/xen.h */
struct start_info {
	char magic[32];
	uint64_t nr_pages;
	uint64_t shared_info; /* machine address */
	uint32_t flags, pad;
	uint64_t store_mfn;
	uint32_t store_evtchn, pad2;
	uint64_t console_mfn;
	uint32_t console_evtchn, pad3;
	uint64_t pt_base, nr_pt_frames;
	uint64_t mfn_list; /* virtual address of the table pfn -> mfn */
	uint64_t mod_start, mod_len;
	char command_line[1024];
};

#define PTE_PRESENT_WRITABLE 3

static const struct start_info *start;
word suspend_argument;

/* A frame that is not ours ends the search at page 0, which is never handed out for a ring. */
static word page_of(uint64_t mfn)
{
	const uint64_t *mfns = (const uint64_t *)start->mfn_list;
	uint64_t pfn = start->nr_pages;

	while (pfn && mfns[--pfn] != mfn)
		;
	return pfn * PAGE_SIZE;
}

void find_rings(void)
{
	hypercall(HYPERCALL_UPDATE_VA_MAPPING, (word)shared_page, start->shared_info | PTE_PRESENT_WRITABLE,
		  UVMF_INVLPG);
	rings_use(&(struct rings){
		.console = (struct console_ring *)page_of(start->console_mfn),
		.console_port = start->console_evtchn,
		.store = (struct store_ring *)page_of(start->store_mfn),
		.store_port = start->store_evtchn,
	});
}

void boot(const struct start_info *given)
{
	start = given;
	suspend_argument = ((const uint64_t *)start->mfn_list)[(word)given / PAGE_SIZE];
	live("PV", start->command_line);
}
