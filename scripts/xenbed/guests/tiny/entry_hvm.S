/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A boot sector: reads what follows it on the disk, and enters it with 32 bits, flat, no paging. */

#define BOOT 0x7c00 /* where the BIOS puts the sector */
#define SECTOR 512

	.section .boot, "ax"
	.code16
	.globl _start
_start:
	ljmp $0, $1f
1:	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $BOOT, %sp
	cld
	mov $packet, %si
	mov $0x42, %ah /* extended read, of the drive in dl */
	int $0x13
	jc 2f
	cli
	lgdt table
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmp $8, $protected
2:	hlt
	jmp 2b

	.balign 8
packet:
	.byte 16, 0
	.word payload_sectors
	.word 0, (BOOT + SECTOR) >> 4
	.quad 1

descriptors:
	.quad 0
	.quad 0x00cf9a000000ffff /* code: 0 … 4 GiB */
	.quad 0x00cf92000000ffff /* data: the same */
table:
	.word . - descriptors - 1
	.long descriptors

	.code32
protected:
	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $bss_start, %edi
	mov $bss_end, %ecx
	sub %edi, %ecx
	xor %eax, %eax
	rep stosb
	mov $stack_top, %esp
	call boot
3:	jmp 3b

	.org 0x100
	.globl command_line
command_line:
	.skip 240

	.org SECTOR - 2
	.byte 0x55, 0xaa

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
