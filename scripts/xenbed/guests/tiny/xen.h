/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tiny guests know of Xen: hypercall numbers, shared structures, ring layouts.
 * Facts only, for x86.  Source: xen/include/public/{xen,sched,memory,hvm/params}.h, io/{console,xs_wire}.h.
 */
#ifndef TINY_XEN_H
#define TINY_XEN_H

#include <stdint.h>

typedef unsigned long word; /* the width of a register: 32 bits in the PVH guest, 64 in the PV guest */

#define PAGE_SIZE 4096u

/* Hypercall numbers; each has 32 bytes of code in the hypercall page. */
#define HYPERCALL_MEMORY_OP 12
#define HYPERCALL_UPDATE_VA_MAPPING 14
#define HYPERCALL_SCHED_OP 29
#define HYPERCALL_EVENT_CHANNEL_OP 32
#define HYPERCALL_HVM_OP 34

#define SCHEDOP_SHUTDOWN 2
#define SCHEDOP_POLL 3
#define EVTCHNOP_SEND 4
#define XENMEM_ADD_TO_PHYSMAP 7
#define XENMAPSPACE_SHARED_INFO 0
#define HVMOP_SET_PARAM 0
#define HVMOP_GET_PARAM 1
#define UVMF_INVLPG 2
#define DOMID_SELF 0x7ff0

/* Why a domain stopped: what the toolstack reads as its shutdown code. */
enum shutdown_reason { SHUTDOWN_POWEROFF = 0, SHUTDOWN_REBOOT = 1, SHUTDOWN_SUSPEND = 2, SHUTDOWN_CRASH = 3 };

/* HVM parameters that name the rings of a PVH guest. */
#define HVM_PARAM_CALLBACK_IRQ 0
#define CALLBACK_BY_VECTOR (2ull << 56)
#define HVM_PARAM_STORE_PFN 1
#define HVM_PARAM_STORE_EVTCHN 2
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18

/* Offset of evtchn_pending in shared_info: 32 struct vcpu_info of 64 bytes come before it. */
#define SHARED_INFO_PENDING (32 * 64)

struct sched_poll {
	word ports; /* address of an array of port numbers */
	uint32_t nr_ports;
#ifdef __x86_64__
	uint32_t pad;
#endif
	uint64_t timeout; /* 0: without end */
};

#define CONSOLE_IN 1024u
#define CONSOLE_OUT 2048u

struct console_ring {
	char in[CONSOLE_IN];
	char out[CONSOLE_OUT];
	volatile uint32_t in_cons, in_prod, out_cons, out_prod;
};

#define STORE_RING 1024u

struct store_ring {
	char requests[STORE_RING];
	char replies[STORE_RING];
	volatile uint32_t request_cons, request_prod, reply_cons, reply_prod;
};

/* Message types of the xenstore protocol that are used here. */
enum store_message { XS_READ = 2, XS_WATCH = 4, XS_WRITE = 11, XS_WATCH_EVENT = 15, XS_ERROR = 16 };

struct store_header {
	uint32_t type, request_id, transaction_id, length;
};

/* In entry_*.S: where Xen puts its hypercall code, and the page that shared_info is mapped over. */
extern uint8_t hypercall_page[PAGE_SIZE];
extern uint8_t shared_page[PAGE_SIZE];

/* An unused argument is 0.  The answer is negative for an error. */
static inline word hypercall(unsigned number, word first, word second, word third)
{
	word result;
#ifdef __x86_64__
	__asm__ volatile("call *%[code]"
			 : "=a"(result), "+D"(first), "+S"(second), "+d"(third)
			 : [code] "r"(hypercall_page + number * 32)
			 : "rcx", "r8", "r9", "r10", "r11", "memory");
#else
	__asm__ volatile("call *%[code]"
			 : "=a"(result), "+b"(first), "+c"(second), "+d"(third)
			 : [code] "0"(hypercall_page + number * 32)
			 : "memory");
#endif
	return result;
}

static inline void memory_barrier(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

#endif
