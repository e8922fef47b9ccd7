/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seam between what all tiny guests do (life.c) and how a PV or a PVH guest does it (boot_*.c). */
#ifndef TINY_LIFE_H
#define TINY_LIFE_H

#include "rings.h"

/*
 * Speak on the console, obey control/shutdown, never return.  What is said:
 *   GUEST UP type=PV|PVH cmdline=...      as soon as the console works
 *   GUEST READY domid=N|unknown           when xenstore answered and the watch is set
 *   GUEST shutdown WORD                   when told to stop, before doing it
 *   GUEST RESUMED                         after a suspend that was cancelled or restored
 * Words on the command line change the behaviour:
 *   crash     crash once ready            ignore    read control/shutdown, but never obey
 *   quit      power off once ready        silent    as ignore, and do not even read it
 */
void live(const char *type, const char *command_line) __attribute__((noreturn));

/* Finds and uses the rings; called at boot, and again when restored in a new domain. */
void find_rings(void);

/* The third argument of the suspend hypercall: for PV, where the saver finds start_info. */
extern word suspend_argument;

#endif
