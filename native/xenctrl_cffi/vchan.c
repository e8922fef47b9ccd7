/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The C that cffi cannot say.  Included by the generated module. */
#include <stddef.h>
#include <libxenvchan.h>

/* Bytes of the larger of the two rings.  libxenvchan read the orders once: the peer cannot change them any more. */
static size_t openxt_vchan_ring_bytes(const struct libxenvchan *channel)
{
    int order = channel->read.order > channel->write.order ? channel->read.order : channel->write.order;

    return (size_t)1 << order;
}

/* The library leaves this to its caller: a new channel blocks or does not, as the memory happened to be. */
static void openxt_vchan_never_block(struct libxenvchan *channel)
{
    channel->blocking = 0;
}
