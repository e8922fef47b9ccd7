/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A 32-bit PVH or HVM guest without paging: addresses are guest physical, so a frame number is a pointer. */
#include "life.h"

word suspend_argument; /* not used by HVM containers */

#define XEN_CPUID_FIRST 0x40000000u
#define XEN_CPUID_STEP 0x100u
#define XEN_SIGNATURE 0x566e6558u /* "XenV" in ebx of the first leaf */

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "0"(leaf), "2"(0));
	return r;
}

/* Xen writes its code into the page whose address is written to an MSR; which MSR, says its third leaf. */
static void install_hypercall_page(void)
{
	uint32_t leaf = XEN_CPUID_FIRST;

	while (cpuid(leaf).ebx != XEN_SIGNATURE)
		leaf += XEN_CPUID_STEP; /* above the leaves of another hypervisor that Xen may offer to a guest */
	__asm__ volatile("wrmsr" ::"c"(cpuid(leaf + 2).ebx), "a"((uint32_t)hypercall_page), "d"(0) : "memory");
}

static void map_shared_info(void)
{
	struct {
		uint16_t domid, size;
		uint32_t space, index, frame;
	} request = {.domid = DOMID_SELF, .space = XENMAPSPACE_SHARED_INFO, .frame = (uint32_t)shared_page / PAGE_SIZE};

	hypercall(HYPERCALL_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (word)&request, 0);
}

static uint32_t parameter(uint32_t index)
{
	struct {
		uint16_t domid, pad;
		uint32_t index;
		uint64_t value;
	} request = {.domid = DOMID_SELF, .index = index};

	hypercall(HYPERCALL_HVM_OP, HVMOP_GET_PARAM, (word)&request, 0);
	return (uint32_t)request.value;
}

void find_rings(void)
{
	install_hypercall_page();
	map_shared_info();
	rings_use(&(struct rings){
		.console = (struct console_ring *)(parameter(HVM_PARAM_CONSOLE_PFN) * PAGE_SIZE),
		.console_port = parameter(HVM_PARAM_CONSOLE_EVTCHN),
		.store = (struct store_ring *)(parameter(HVM_PARAM_STORE_PFN) * PAGE_SIZE),
		.store_port = parameter(HVM_PARAM_STORE_EVTCHN),
	});
}
