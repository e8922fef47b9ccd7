/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole life of a tiny guest; see life.h. */
#include "life.h"

#include <stdbool.h>

/* What control/shutdown can say.  Source: xen/docs/misc/xenstore-paths.pandoc. */
static const struct order {
	const char *word;
	enum shutdown_reason reason;
} ORDERS[] = {
	{"poweroff", SHUTDOWN_POWEROFF}, {"halt", SHUTDOWN_POWEROFF}, {"reboot", SHUTDOWN_REBOOT},
	{"suspend", SHUTDOWN_SUSPEND},	 {"crash", SHUTDOWN_CRASH},
};
#define ORDER_COUNT (sizeof(ORDERS) / sizeof(ORDERS[0]))

/* What a toolstack looks at before it asks.  Nodes that may not be written are left alone. */
static const char *const FEATURES[] = {
	"control/feature-poweroff", "control/feature-reboot", "control/feature-halt", "control/feature-suspend",
};
#define FEATURE_COUNT (sizeof(FEATURES) / sizeof(FEATURES[0]))

static const char SHUTDOWN_NODE[] = "control/shutdown";

static bool same(const char *left, const char *right)
{
	for (; *left && *left == *right; left++)
		right++;
	return *left == *right;
}

/* Is `word` one of the words of the command line, which are parted by blanks? */
static bool has_word(const char *line, const char *word)
{
	while (*line) {
		const char *wanted = word;

		while (*line == ' ')
			line++;
		while (*line && *line != ' ' && *line == *wanted)
			line++, wanted++;
		if (!*wanted && (!*line || *line == ' '))
			return true;
		while (*line && *line != ' ')
			line++;
	}
	return false;
}

/* Returns for a suspend only: 1 when it was cancelled, 0 when this is another domain now. */
static word stop(enum shutdown_reason reason)
{
	uint32_t code = reason;

	return hypercall(HYPERCALL_SCHED_OP, SCHEDOP_SHUTDOWN, (word)&code, suspend_argument);
}

static void greet(void)
{
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		store_write(FEATURES[i], "1");
	store_watch(SHUTDOWN_NODE);
	console_print("GUEST READY domid=");
	console_print(store_read("domid") > 0 ? store_answer() : "unknown");
	console_print("\n");
}

static void suspend(void)
{
	if (stop(SHUTDOWN_SUSPEND) == 0) {
		find_rings();
		console_print("GUEST RESUMED\n");
		greet();
	} else {
		console_print("GUEST RESUMED\n");
	}
}

/* The node is emptied before the order is obeyed: that is how the toolstack sees it was heard. */
static void obey(const struct order *order)
{
	console_print("GUEST shutdown ");
	console_print(order->word);
	console_print("\n");
	store_write(SHUTDOWN_NODE, "");
	if (order->reason == SHUTDOWN_SUSPEND)
		suspend();
	else
		stop(order->reason);
}

static const struct order *ordered(void)
{
	if (store_read(SHUTDOWN_NODE) <= 0)
		return 0;
	for (unsigned i = 0; i < ORDER_COUNT; i++)
		if (same(store_answer(), ORDERS[i].word))
			return &ORDERS[i];
	return 0;
}

void live(const char *type, const char *command_line)
{
	const bool silent = has_word(command_line, "silent");
	const bool ignores = silent || has_word(command_line, "ignore");

	find_rings();
	console_print("GUEST UP type=");
	console_print(type);
	console_print(" cmdline=");
	console_print(command_line);
	console_print("\n");
	greet();
	if (has_word(command_line, "crash"))
		stop(SHUTDOWN_CRASH);
	if (has_word(command_line, "quit"))
		stop(SHUTDOWN_POWEROFF);
	for (;;) {
		store_wait_for_event();
		const struct order *order = silent ? 0 : ordered();

		if (order && !ignores)
			obey(order);
	}
}
