/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two shared rings of a guest: text out through the console, messages to and from xenstore.
 * One vcpu, no interrupts: waiting is a poll hypercall on the ring's event channel.
 */
#ifndef TINY_RINGS_H
#define TINY_RINGS_H

#include "xen.h"

/* Where the rings are; how a guest learns this differs between PV and PVH. */
struct rings {
	struct console_ring *console;
	struct store_ring *store;
	uint32_t console_port, store_port;
};

void rings_use(const struct rings *found);

/* Waits for room: the console daemon has to be alive. */
void console_print(const char *text);

/* All answers live in one buffer, ended by a zero byte, until the next call. */
enum { STORE_FAILED = -1 };
const char *store_answer(void);

/* Length of the value, or STORE_FAILED: there is no such node, or it may not be read. */
int store_read(const char *path);
int store_write(const char *path, const char *value);
int store_watch(const char *path);

/* Sleeps until some watch fires.  An event that came in between two requests is not lost. */
void store_wait_for_event(void);

#endif
