/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls one D-Bus method again and again over one connection, and tells what came of it.
 *
 *   dbus-calls SOCKET COUNT IN_FLIGHT PAUSE_MS DESTINATION PATH INTERFACE MEMBER [STRING]
 *
 * Prints `REPLY return` or `REPLY error NAME` at the first reply and whenever the kind of reply changes, and at
 * the end `CALLS n RETURNS n ERRORS n LOST n`, round-trip times and messages a second.  Each call must get one
 * reply with its serial; a second one, or one to no call, ends the program with status 1.  A measuring tool:
 * it believes the bus's framing and takes messages of up to 64 KiB.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { METHOD_CALL = 1, METHOD_RETURN = 2, ERROR = 3 };
enum { PATH = 1, INTERFACE = 2, MEMBER = 3, ERROR_NAME = 4, REPLY_SERIAL = 5, DESTINATION = 6, SIGNATURE = 8 };
enum { LIMIT = 65536, PATIENCE_S = 60 };

struct message {
    unsigned char bytes[4096];
    size_t length;
};

struct tally {
    uint32_t count, sent, returns, errors;
    double *sent_at, *took; /* by number of the call; `took` is negative until its reply is there */
    char last[256];
};

static void die(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    fprintf(stderr, "dbus-calls: ");
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Marshalling, little-endian.  Source: the D-Bus Specification. */

static void put(struct message *message, const void *bytes, size_t length)
{
    if (message->length + length > sizeof(message->bytes))
        die("the words are too long");
    memcpy(message->bytes + message->length, bytes, length);
    message->length += length;
}

static void align(struct message *message, size_t to)
{
    static const char zeros[8];

    put(message, zeros, (to - message->length % to) % to);
}

static void put_u32(struct message *message, uint32_t value)
{
    align(message, 4);
    put(message, &value, 4);
}

static void put_string(struct message *message, const char *text)
{
    put_u32(message, (uint32_t)strlen(text));
    put(message, text, strlen(text) + 1);
}

static void put_field(struct message *message, unsigned char code, char type, const char *value)
{
    unsigned char head[] = { code, 1, (unsigned char)type, 0 };
    unsigned char length = (unsigned char)strlen(value);

    align(message, 8);
    put(message, head, sizeof(head));
    if (type != 'g')
        return put_string(message, value);
    put(message, &length, 1);
    put(message, value, strlen(value) + 1);
}

static struct message call(char **words, const char *argument)
{
    static const unsigned char start[] = { 'l', METHOD_CALL, 0, 1 };
    struct message message = { .length = 0 }, body = { .length = 0 };
    uint32_t fields;

    if (argument)
        put_string(&body, argument);
    put(&message, start, sizeof(start));
    put_u32(&message, (uint32_t)body.length);
    put_u32(&message, 0); /* the serial: set for each call */
    put_u32(&message, 0); /* length of the fields: set below */
    put_field(&message, DESTINATION, 's', words[0]);
    put_field(&message, PATH, 'o', words[1]);
    put_field(&message, INTERFACE, 's', words[2]);
    put_field(&message, MEMBER, 's', words[3]);
    if (argument)
        put_field(&message, SIGNATURE, 'g', "s");
    fields = (uint32_t)message.length - 16;
    memcpy(message.bytes + 12, &fields, 4);
    align(&message, 8);
    put(&message, body.bytes, body.length);
    return message;
}

/* The connection */

static void send_all(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length) {
        ssize_t count = send(fd, at, length, MSG_NOSIGNAL);

        if (count <= 0)
            die("the connection was lost");
        at += count;
        length -= (size_t)count;
    }
}

static void send_call(int fd, struct message *message, uint32_t serial)
{
    memcpy(message->bytes + 8, &serial, 4);
    send_all(fd, message->bytes, message->length);
}

/* The next message, whole, in a buffer of LIMIT bytes. */
static unsigned char *receive(int fd)
{
    static unsigned char buffer[2 * LIMIT];
    static size_t used, taken;
    uint32_t lengths[2], whole;

    memmove(buffer, buffer + taken, used -= taken);
    for (;;) {
        ssize_t count;

        if (used >= 16) {
            memcpy(&lengths[0], buffer + 4, 4);
            memcpy(&lengths[1], buffer + 12, 4);
            if (buffer[0] != 'l' || lengths[0] > LIMIT / 2 || lengths[1] > LIMIT / 4)
                die("a message that is not for this tool");
            whole = 16 + ((lengths[1] + 7) & ~7U) + lengths[0];
            if (used >= whole)
                break;
        }
        count = recv(fd, buffer + used, sizeof(buffer) - used, 0);
        if (count <= 0)
            die("no further reply: the connection was lost, or %d s have passed", PATIENCE_S);
        used += (size_t)count;
    }
    taken = whole;
    return buffer;
}

/* Values of the two header fields that we want. */
static void read_fields(const unsigned char *message, uint32_t *reply_serial, const char **error_name)
{
    uint32_t at = 16, length;

    memcpy(&length, message + 12, 4);
    *reply_serial = 0;
    *error_name = "";
    for (length += 16; at < length;) {
        unsigned char code = message[at], type = message[at + 2];
        uint32_t size;

        if (type == 'g') {
            at += 4 + 1 + message[at + 4] + 1;
        } else {
            memcpy(&size, message + at + 4, 4);
            if (code == REPLY_SERIAL)
                *reply_serial = size;
            if (code == ERROR_NAME)
                *error_name = (const char *)message + at + 8;
            at += type == 'u' ? 8 : 8 + size + 1;
        }
        at = (at + 7) & ~7U;
    }
}

static int enter_bus(const char *path)
{
    static const char begin[] = "\0AUTH EXTERNAL 30\r\n";
    static char *hello[] = { "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello" };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = PATIENCE_S };
    struct message message = call(hello, NULL);
    char answer[256];
    ssize_t count;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        die("%s: cannot connect", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    send_all(fd, begin, sizeof(begin) - 1);
    count = recv(fd, answer, sizeof(answer), 0);
    if (count < 3 || memcmp(answer, "OK ", 3))
        die("the bus does not let us in");
    send_all(fd, "BEGIN\r\n", 7);
    send_call(fd, &message, 1);
    return fd;
}

/* Calls */

static void take(struct tally *tally, const unsigned char *message)
{
    uint32_t serial, number;
    const char *error;
    char kind[256];

    if (message[1] != METHOD_RETURN && message[1] != ERROR)
        return;
    read_fields(message, &serial, &error);
    if (serial == 1)
        return; /* Hello */
    number = serial - 2;
    if (number >= tally->sent || tally->took[number] >= 0)
        die("a reply to call %u, which is not open", number);
    tally->took[number] = now() - tally->sent_at[number];
    if (message[1] == ERROR)
        tally->errors++;
    else
        tally->returns++;
    snprintf(kind, sizeof(kind), message[1] == ERROR ? "error %s" : "return", error);
    if (strcmp(kind, tally->last)) {
        printf("REPLY %s\n", kind);
        fflush(stdout);
        strcpy(tally->last, kind);
    }
}

static void exchange(int fd, struct message *message, struct tally *tally, uint32_t in_flight, unsigned pause_ms)
{
    while (tally->returns + tally->errors < tally->count) {
        uint32_t open = tally->sent - tally->returns - tally->errors;

        if (tally->sent < tally->count && open < in_flight) {
            if (pause_ms && tally->sent)
                usleep(pause_ms * 1000);
            tally->sent_at[tally->sent] = now();
            send_call(fd, message, 2 + tally->sent++);
        } else {
            take(tally, receive(fd));
        }
    }
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;

    return (a > b) - (a < b);
}

int main(int count, char **words)
{
    struct tally tally = { 0 };
    struct message message;
    double started;
    uint32_t n;
    int fd;

    if (count < 9 || count > 10) {
        fprintf(stderr, "usage: dbus-calls SOCKET COUNT IN_FLIGHT PAUSE_MS "
                        "DESTINATION PATH INTERFACE MEMBER [STRING]\n");
        return 2;
    }
    n = tally.count = (uint32_t)strtoul(words[2], NULL, 10);
    if (!n || n > 10000000)
        die("%s calls?", words[2]);
    tally.sent_at = calloc(n, sizeof(double));
    tally.took = calloc(n, sizeof(double));
    if (!tally.sent_at || !tally.took)
        die("no memory for %u calls", n);
    for (uint32_t i = 0; i < n; i++)
        tally.took[i] = -1;
    message = call(words + 5, count == 10 ? words[9] : NULL);
    fd = enter_bus(words[1]);
    started = now();
    exchange(fd, &message, &tally, (uint32_t)strtoul(words[3], NULL, 10), (unsigned)atoi(words[4]));
    qsort(tally.took, n, sizeof(double), by_size);
    printf("CALLS %u RETURNS %u ERRORS %u LOST %u\n", tally.sent, tally.returns, tally.errors,
           tally.sent - tally.returns - tally.errors);
    printf("ROUND TRIP us min %.0f median %.0f p99 %.0f max %.0f, %.0f messages a second\n", tally.took[0] * 1e6,
           tally.took[n / 2] * 1e6, tally.took[n - 1 - n / 100] * 1e6, tally.took[n - 1] * 1e6,
           2 * n / (now() - started));
    return 0;
}
