/* SPDX-License-Identifier: GPL-2.0-or-later */
/* First instructions of the PVH guest: 32 bits, flat, no paging; ebx points at hvm_start_info. */

#define XEN_ELFNOTE_PHYS32_ENTRY 18

	.section .note.Xen, "a", @note
	.long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long _start

	.text
	.globl _start
_start:
	cld
	mov $stack_top, %esp
	push %ebx
	call boot
1:	jmp 1b

	.bss
	.balign 4096
	.globl hypercall_page, shared_page
hypercall_page:
	.skip 4096
shared_page:
	.skip 4096
	.skip 8192
stack_top:

	.section .note.GNU-stack, "", @progbits
