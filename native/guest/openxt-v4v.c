/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In a guest on stock Xen: streams to ports of another domain, mostly 5555 and 5556 of dom0, over vchans.
 *
 *   openxt-v4v listen PATH PORT [DOMID]   a UNIX socket; each connection becomes a stream
 *   openxt-v4v connect PORT [DOMID]       standard input and output become one
 *
 * Any D-Bus client then reaches dom0's bus, as far as dom0 lets it:
 *
 *   dbus-send --bus=unix:path=PATH ...
 *   DBUS_SYSTEM_BUS_ADDRESS=unixexec:path=/usr/bin/openxt-v4v,argv1=connect,argv2=5555
 *
 * How two domains meet is told in docs/vchan.md.  Needs the kernel modules xen-gntalloc and xen-evtchn, and a
 * node `domid` in the guest's part of XenStore (xl, libvirt and xenvm write it).  Does not look at the bytes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libxenvchan.h>
#include <xenstore.h>

#define RING_BYTES 65536
#define BUFFER_BYTES 65536
#define CONNECT_TIMEOUT_MS 15000 /* v4v gave up after 5 s, but knew at once that nobody listened */
#define REFUSAL_POLL_MS 100
#define ACCEPT_PAUSE_MS 100
#define MAX_STREAMS 28 /* a guest's kernel lends 1024 pages by default, a stream takes 33 */

struct pump {
    char data[BUFFER_BYTES];
    size_t begin, end;
};

struct ends {
    int in, out;
};

static int complain(const char *what)
{
    fprintf(stderr, "openxt-v4v: %s: %s\n", what, strerror(errno));
    return 1;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/*
 * Whether the other domain has joined: 1 yes, 0 it refused or never came.  A removed node is looked for now and
 * then, as libxenstore's watches need a thread that a static program cannot start.
 */
static int wait_until_joined(struct libxenvchan *channel, struct xs_handle *xs, const char *path)
{
    struct pollfd file = { .fd = libxenvchan_fd_for_select(channel), .events = POLLIN };
    int64_t deadline = now_ms() + CONNECT_TIMEOUT_MS;
    char node[160];

    snprintf(node, sizeof(node), "%s/ring-ref", path);
    while (libxenvchan_is_open(channel) != 1) {
        unsigned length;
        char *value = xs_read(xs, XBT_NULL, node, &length);

        free(value);
        /* who joins removes the node afterwards, so look at the ring once more */
        if (!value && libxenvchan_is_open(channel) != 1)
            return 0;
        if (now_ms() > deadline)
            return 0;
        if (poll(&file, 1, REFUSAL_POLL_MS) > 0)
            libxenvchan_wait(channel);
    }
    return 1;
}

/* An open stream; NULL with errno set. */
static struct libxenvchan *open_stream(unsigned domid, unsigned port)
{
    struct xs_handle *xs = xs_open(0);
    struct libxenvchan *channel = NULL;
    char path[64];
    int reason;

    if (!xs)
        return NULL;
    /* short, since libxenvchan has 63 bytes for a path; who had our number before us is dead */
    snprintf(path, sizeof(path), "data/v4v/%u/%u/%x", domid, port, (unsigned)getpid());
    xs_rm(xs, XBT_NULL, path);
    channel = libxenvchan_server_init(NULL, (int)domid, path, RING_BYTES, RING_BYTES);
    reason = errno;
    if (channel && !wait_until_joined(channel, xs, path)) {
        libxenvchan_close(channel);
        channel = NULL;
        reason = ECONNREFUSED;
    }
    xs_rm(xs, XBT_NULL, path);
    xs_close(xs);
    errno = reason;
    return channel;
}

static bool is_empty(const struct pump *pump)
{
    return pump->begin == pump->end;
}

/* Move what can be moved between the buffers and the ring.  False once the other side is gone. */
static bool serve_ring(struct libxenvchan *channel, struct pump *out, struct pump *in, bool *moved)
{
    bool open = libxenvchan_is_open(channel);
    int count;

    *moved = false;
    if (!is_empty(out)) {
        count = libxenvchan_write(channel, out->data + out->begin, out->end - out->begin);
        if (count > 0) {
            out->begin += (size_t)count;
            *moved = true;
        }
    }
    if (is_empty(in)) {
        count = libxenvchan_read(channel, in->data, sizeof(in->data));
        if (count > 0) {
            in->begin = 0;
            in->end = (size_t)count;
            *moved = true;
        } else if (!open)
            return false;
    }
    return true;
}

/* Move what can be moved between the buffers and the local files, or wait for it.  False at their end. */
static bool serve_local(struct ends local, int signal_fd, struct pump *out, struct pump *in, int timeout_ms)
{
    struct pollfd files[] = {
        { .fd = is_empty(out) ? local.in : -1, .events = POLLIN },
        { .fd = is_empty(in) ? -1 : local.out, .events = POLLOUT },
        { .fd = signal_fd, .events = POLLIN },
    };
    ssize_t count;

    if (poll(files, 3, timeout_ms) < 0)
        return errno == EINTR;
    if (files[0].revents) {
        count = read(local.in, out->data, sizeof(out->data));
        if (count <= 0)
            return count < 0 && errno == EINTR;
        out->begin = 0;
        out->end = (size_t)count;
    }
    if (files[1].revents) {
        count = write(local.out, in->data + in->begin, in->end - in->begin);
        if (count < 0)
            return errno == EINTR;
        in->begin += (size_t)count;
    }
    return true;
}

static bool is_signalled(int fd)
{
    struct pollfd file = { .fd = fd, .events = POLLIN };

    return poll(&file, 1, 0) > 0;
}

/* Until either side ends; what was written before still arrives. */
static void carry(struct libxenvchan *channel, struct ends local)
{
    static struct pump out, in;
    int fd = libxenvchan_fd_for_select(channel);
    bool moved;

    channel->blocking = 0;
    while (serve_ring(channel, &out, &in, &moved)) {
        /* only a call that moved nothing has asked to be told of the next chance */
        if (!serve_local(local, fd, &out, &in, moved ? 0 : -1))
            break;
        if (is_signalled(fd))
            libxenvchan_wait(channel);
    }
    while (!is_empty(&in) && serve_local((struct ends){ -1, local.out }, -1, &out, &in, -1))
        ;
    channel->blocking = 1;
    while (!is_empty(&out)) {
        int count = libxenvchan_write(channel, out.data + out.begin, out.end - out.begin);

        if (count <= 0)
            break;
        out.begin += (size_t)count;
    }
    libxenvchan_close(channel);
}

static int run_stream(struct ends local, unsigned domid, unsigned port)
{
    struct libxenvchan *channel = open_stream(domid, port);

    if (!channel)
        return complain("no stream");
    carry(channel, local);
    return 0;
}

/* A socket that an earlier listener left is removed, anything else stays.  0, or -1 with errno set. */
static int clear(const char *path)
{
    struct stat found;

    if (lstat(path, &found))
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(found.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    return unlink(path);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    if (listener < 0 || clear(path) || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
        return -1;
    return listener;
}

/* -1 for none.  An error that lasts, as for want of descriptors, must not keep a processor busy. */
static int next_connection(int listener)
{
    int connection = accept(listener, NULL, NULL);

    if (connection < 0 && errno != EINTR && errno != ECONNABORTED)
        poll(NULL, 0, ACCEPT_PAUSE_MS);
    return connection;
}

/* A process for each connection: one that hangs or dies is nobody else's trouble. */
static int serve_socket(const char *path, unsigned domid, unsigned port)
{
    int listener = listen_at(path), children = 0;

    if (listener < 0)
        return complain(path);
    for (;;) {
        int connection = next_connection(listener);
        pid_t child;

        while (children && waitpid(-1, NULL, children >= MAX_STREAMS ? 0 : WNOHANG) > 0)
            children--;
        if (connection < 0)
            continue;
        child = fork();
        if (child == 0) {
            close(listener);
            _exit(run_stream((struct ends){ connection, connection }, domid, port));
        }
        children += child > 0;
        close(connection);
    }
}

static bool is_number(const char *text, unsigned long limit, unsigned *number)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    *number = (unsigned)value;
    return *text >= '0' && *text <= '9' && !*end && !errno && value < limit;
}

int main(int count, char **words)
{
    unsigned port, domid = 0;
    bool listens = count > 1 && !strcmp(words[1], "listen");
    bool connects = count > 1 && !strcmp(words[1], "connect");
    int at = listens ? 3 : 2;

    if ((!listens && !connects) || count <= at || count > at + 2 || !is_number(words[at], 1UL << 32, &port) ||
        (count == at + 2 && !is_number(words[at + 1], 0x7ff0, &domid))) {
        fprintf(stderr, "usage: openxt-v4v listen PATH PORT [DOMID]\n       openxt-v4v connect PORT [DOMID]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (listens)
        return serve_socket(words[2], domid, port);
    return run_stream((struct ends){ STDIN_FILENO, STDOUT_FILENO }, domid, port);
}
