/* SPDX-License-Identifier: GPL-2.0-or-later */
/* First instructions of the PV guest: 64 bits, paging on; rsi points at start_info.  Notes: public/elfnote.h. */

#define XEN_ELFNOTE_ENTRY 1
#define XEN_ELFNOTE_HYPERCALL_PAGE 2
#define XEN_ELFNOTE_VIRT_BASE 3
#define XEN_ELFNOTE_XEN_VERSION 5
#define XEN_ELFNOTE_GUEST_OS 6
#define XEN_ELFNOTE_LOADER 8

	.macro note type:req, value:vararg
	.long 4, 2f - 1f, \type
	.asciz "Xen"
1:	\value
2:	.balign 4
	.endm

	.section .note.Xen, "a", @note
	note XEN_ELFNOTE_GUEST_OS, .asciz "openxt-tiny"
	note XEN_ELFNOTE_LOADER, .asciz "generic"
	note XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0"
	note XEN_ELFNOTE_VIRT_BASE, .quad 0
	note XEN_ELFNOTE_ENTRY, .quad _start
	note XEN_ELFNOTE_HYPERCALL_PAGE, .quad hypercall_page

	.text
	.globl _start
_start:
	cld
	mov $stack_top, %rsp
	mov %rsi, %rdi
	call boot
1:	jmp 1b

	/* In .text because Xen writes here before the guest runs, and .bss may be cleared after. */
	.balign 4096
	.globl hypercall_page, shared_page
hypercall_page:
	.skip 4096

	.bss
	.balign 4096
shared_page:
	.skip 4096
	.skip 8192
	.balign 16
stack_top:

	.section .note.GNU-stack, "", @progbits
