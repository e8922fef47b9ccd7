/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An HVM guest that its BIOS has read from a disk.  Its first words go to the emulated serial line. */
#include "life.h"

extern const char command_line[]; /* in the boot sector: whoever makes the disk writes it there */

#define SERIAL 0x3f8 /* 16550: data; the line status is 5 further on */
#define SERIAL_STATUS (SERIAL + 5)
#define SERIAL_EMPTY 0x20

static uint8_t in(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static void serial_print(const char *text)
{
	for (; *text; text++) {
		while (!(in(SERIAL_STATUS) & SERIAL_EMPTY))
			;
		out(SERIAL, (uint8_t)*text);
	}
}

/* What tells a toolstack that the guest has drivers of Xen.  The vector is never taken: interrupts are off. */
static void say_that_there_are_drivers(void)
{
	struct {
		uint16_t domid, pad;
		uint32_t index;
		uint64_t value;
	} request = {.domid = DOMID_SELF, .index = HVM_PARAM_CALLBACK_IRQ, .value = CALLBACK_BY_VECTOR | 0xf3};

	hypercall(HYPERCALL_HVM_OP, HVMOP_SET_PARAM, (word)&request, 0);
}

void boot(void)
{
	serial_print("GUEST BOOTED type=HVM cmdline=");
	serial_print(command_line);
	serial_print("\r\n");
	find_rings();
	say_that_there_are_drivers();
	if (store_read("vm") > 0) {
		serial_print("GUEST IS ");
		serial_print(store_answer());
		serial_print("\r\n");
	}
	live("HVM", command_line);
}
