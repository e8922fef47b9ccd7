/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See rings.h.  Free-running indices: the ring's size is a power of two, so that they may wrap around. */
#include "rings.h"

static struct rings rings;
static char answer[PAGE_SIZE + 1]; /* XENSTORE_PAYLOAD_MAX is 4096 */
static unsigned events_waiting;

void rings_use(const struct rings *found)
{
	rings = *found;
	events_waiting = 0;
}

static void notify(uint32_t port)
{
	memory_barrier();
	hypercall(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (word)&port, 0);
}

/* Returns when the port has fired since the last call; then the ring has to be looked at again. */
static void wait_for(uint32_t port)
{
	volatile word *pending = (volatile word *)(shared_page + SHARED_INFO_PENDING);
	const word bits = 8 * sizeof(word);
	struct sched_poll poll = {.ports = (word)&port, .nr_ports = 1};

	hypercall(HYPERCALL_SCHED_OP, SCHEDOP_POLL, (word)&poll, 0);
	__asm__ volatile("lock; btr %1, %0" : "+m"(pending[port / bits]) : "r"(port % bits) : "memory");
}

void console_print(const char *text)
{
	struct console_ring *ring = rings.console;

	for (; *text; text++) {
		while (ring->out_prod - ring->out_cons >= CONSOLE_OUT) {
			notify(rings.console_port);
			wait_for(rings.console_port);
		}
		ring->out[ring->out_prod % CONSOLE_OUT] = *text;
		memory_barrier();
		ring->out_prod++;
	}
	notify(rings.console_port);
}

static void put(const void *bytes, uint32_t count)
{
	struct store_ring *ring = rings.store;
	const char *next = bytes;

	while (count--) {
		while (ring->request_prod - ring->request_cons >= STORE_RING) {
			notify(rings.store_port);
			wait_for(rings.store_port);
		}
		ring->requests[ring->request_prod % STORE_RING] = *next++;
		memory_barrier();
		ring->request_prod++;
	}
}

static void get(void *bytes, uint32_t count)
{
	struct store_ring *ring = rings.store;
	char *next = bytes;

	while (count--) {
		while (ring->reply_prod == ring->reply_cons)
			wait_for(rings.store_port);
		memory_barrier();
		*next++ = ring->replies[ring->reply_cons % STORE_RING];
		memory_barrier();
		ring->reply_cons++;
	}
}

static struct store_header receive(void)
{
	struct store_header header;

	get(&header, sizeof(header));
	if (header.length > PAGE_SIZE)
		header.length = PAGE_SIZE; /* the protocol forbids it; never write past the buffer */
	get(answer, header.length);
	answer[header.length] = 0;
	notify(rings.store_port);
	return header;
}

static uint32_t length_of(const char *text)
{
	uint32_t length = 0;

	while (text[length])
		length++;
	return length;
}

/* `first` goes out with its closing zero when something follows it, as the protocol wants. */
static int request(enum store_message type, const char *first, const char *second, uint32_t second_length)
{
	uint32_t first_length = length_of(first) + (second != 0);
	struct store_header header = {.type = type, .request_id = 1, .length = first_length + second_length};

	put(&header, sizeof(header));
	put(first, first_length);
	put(second, second_length);
	notify(rings.store_port);
	while ((header = receive()).type == XS_WATCH_EVENT)
		events_waiting++;
	return header.type == XS_ERROR ? STORE_FAILED : (int)header.length;
}

const char *store_answer(void)
{
	return answer;
}

int store_read(const char *path)
{
	/* The path alone, and its closing zero as the second part. */
	return request(XS_READ, path, "", 0);
}

int store_write(const char *path, const char *value)
{
	return request(XS_WRITE, path, value, length_of(value));
}

int store_watch(const char *path)
{
	return request(XS_WATCH, path, "t", sizeof("t"));
}

void store_wait_for_event(void)
{
	while (!events_waiting)
		if (receive().type == XS_WATCH_EVENT)
			events_waiting++;
	events_waiting = 0; /* one look at the node answers all of them */
}
