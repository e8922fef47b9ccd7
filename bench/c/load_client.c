// SPDX-License-Identifier: GPL-2.0-or-later
// Loads a D-Bus service: one message is made once and sent over and over on a plain socket, so that next to
// nothing of what is measured is the client.
// Usage: load_client SOCKET CALLS DEPTH DESTINATION PATH INTERFACE MEMBER [STRING...]
//     DEPTH calls are under way at a time.  In the strings, "###" counts 000..999 and "@@@@@@@@" counts up.
// Prints: calls per second, median and 99th percentile of the time a call takes in microseconds.
// An error reply ends it with exit status 2.   Build: gcc -O2 load_client.c

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CALL = 1, RETURN = 2, ERROR = 3, SIGNAL = 4, WARM_UP = 200, MESSAGE_MAX = 128 * 1024, BUFFER = 4 << 20 };

static int fd;
static uint8_t input[BUFFER], message[MESSAGE_MAX];
static size_t input_end, input_at, message_size;
static uint8_t *index_at, *count_at;

static void die(const char *what) {
        fprintf(stderr, "load_client: %s: %s\n", what, strerror(errno));
        exit(1);
}

static double now_us(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static void send_all(const uint8_t *from, size_t size) {
        while (size) {
                ssize_t n = write(fd, from, size);

                if (n < 0 && errno != EINTR)
                        die("write");
                if (n > 0)
                        from += n, size -= n;
        }
}

// Making a message

static size_t put_string(size_t at, const char *text) {
        uint32_t length = strlen(text);

        at = (at + 3) & ~3u;
        if (at + length + 5 > MESSAGE_MAX) {
                errno = EMSGSIZE;
                die("arguments");
        }
        memcpy(message + at, &length, 4);
        memcpy(message + at + 4, text, length + 1);
        return at + 4 + length + 1;
}

static size_t put_field(size_t at, int code, char type, const char *text) {
        at = (at + 7) & ~7u;
        memcpy(message + at, (uint8_t[]){code, 1, type, 0}, 4);
        if (type != 'g')
                return put_string(at + 4, text);
        message[at + 4] = strlen(text);
        memcpy(message + at + 5, text, strlen(text) + 1);
        return at + 6 + strlen(text);
}

static void make_message(const char *destination, const char *path, const char *interface, const char *member,
                         int count, char **strings) {
        char signature[64] = "";
        size_t at = 16, body;

        memset(message, 0, sizeof message);
        memcpy(message, (uint8_t[]){'l', CALL, 0, 1}, 4);
        memset(signature, 's', count);
        at = put_field(at, 1, 'o', path);
        at = put_field(at, 2, 's', interface);
        at = put_field(at, 3, 's', member);
        at = put_field(at, 6, 's', destination);
        if (count)
                at = put_field(at, 8, 'g', signature);
        *(uint32_t *) (message + 12) = at - 16;
        body = at = (at + 7) & ~7u;
        for (int i = 0; i < count; i++)
                at = put_string(at, strings[i]);
        *(uint32_t *) (message + 4) = at - body;
        message_size = at;
        index_at = memmem(message, at, "###", 3);
        count_at = memmem(message, at, "@@@@@@@@", 8);
}

static void put_digits(uint8_t *at, int digits, uint32_t number) {
        while (digits--) {
                at[digits] = '0' + number % 10;
                number /= 10;
        }
}

static void number_message(uint32_t serial) {
        *(uint32_t *) (message + 8) = serial;
        if (index_at)
                put_digits(index_at, 3, serial % 1000);
        if (count_at)
                put_digits(count_at, 8, serial);
}

// Reading answers

static uint32_t reply_serial(const uint8_t *start, const uint8_t *end) {
        const uint8_t *at = start + 16;
        uint32_t number;

        while (at < end) {
                at += -(uintptr_t) (at - start) & 7;
                if (at >= end)
                        break;
                int code = at[0], type = at[2];

                at += 4;
                memcpy(&number, at, 4);
                if (type == 'u' && code == 5)
                        return number;
                at += type == 'u' ? 4 : type == 'g' ? at[0] + 2 : 4 + number + 1;
        }
        return 0;
}

// The type of the next message; 0 if there is none and `wait` is not set.
static int next_message(uint32_t *serial, int wait) {
        for (;;) {
                if (input_end - input_at >= 16) {
                        uint8_t *start = input + input_at;
                        uint32_t body, fields;

                        memcpy(&body, start + 4, 4);
                        memcpy(&fields, start + 12, 4);
                        size_t size = 16 + ((fields + 7) & ~7u) + body;

                        if (input_end - input_at >= size) {
                                *serial = reply_serial(start, start + 16 + fields);
                                input_at += size;
                                if (input_at == input_end)
                                        input_at = input_end = 0;
                                return start[1];
                        }
                }
                if (!wait)
                        return 0;
                memmove(input, input + input_at, input_end - input_at);
                input_end -= input_at;
                input_at = 0;
                ssize_t n = read(fd, input + input_end, BUFFER - input_end);

                if (n <= 0)
                        die("read");
                input_end += n;
        }
}

static int next_answer(uint32_t *serial, int wait) {
        int type;

        do
                type = next_message(serial, wait);
        while (type == SIGNAL || type == CALL);
        if (type == ERROR) {
                fprintf(stderr, "load_client: error reply\n");
                exit(2);
        }
        return type;
}

static void call_once(uint32_t serial) {
        uint32_t got = 0;

        number_message(serial);
        send_all(message, message_size);
        while (got != serial)
                next_answer(&got, 1);
}

// The run

static void connect_to_bus(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char line[256], user[16];
        ssize_t n;

        strncpy(address.sun_path, path, sizeof address.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                die(path);
        n = sprintf(line, "%cAUTH EXTERNAL ", 0);
        sprintf(user, "%u", getuid());
        for (char *c = user; *c; c++)
                n += sprintf(line + n, "%02x", *c);
        n += sprintf(line + n, "\r\n");
        send_all((uint8_t *) line, n);
        n = read(fd, line, sizeof line - 1);
        if (n < 2 || memcmp(line, "OK", 2))
                die("authentication");
        send_all((const uint8_t *) "BEGIN\r\n", 7);
        make_message("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", 0, NULL);
        call_once(1);
}

static int run(int calls, int depth, uint32_t first, double *took_us) {
        double *sent_us = calloc(calls, sizeof *sent_us);
        uint8_t *batch = malloc((size_t) depth * message_size);
        int sent = 0, answered = 0;
        uint32_t serial;

        while (answered < calls) {
                size_t size = 0;
                double now = now_us();

                for (; sent < calls && sent - answered < depth; sent++) {
                        number_message(first + sent);
                        memcpy(batch + size, message, message_size);
                        size += message_size;
                        sent_us[sent] = now;
                }
                send_all(batch, size);
                for (int wait = 1; next_answer(&serial, wait); wait = 0)
                        took_us[answered++] = now_us() - sent_us[serial - first];
        }
        return answered;
}

int main(int argc, char **argv) {
        if (argc < 8) {
                fprintf(stderr, "usage: load_client SOCKET CALLS DEPTH DESTINATION PATH INTERFACE MEMBER [STRING...]\n");
                return 1;
        }
        int calls = atoi(argv[2]), depth = atoi(argv[3]);
        double *took_us = calloc(calls, sizeof *took_us), start;

        connect_to_bus(argv[1]);
        make_message(argv[4], argv[5], argv[6], argv[7], argc - 8, argv + 8);
        for (int i = 0; i < WARM_UP; i++)
                call_once(2 + i);
        start = now_us();
        run(calls, depth, 2 + WARM_UP, took_us);
        double seconds = (now_us() - start) / 1e6;

        qsort(took_us, calls, sizeof *took_us, by_value);
        printf("%.0f %.1f %.1f\n", calls / seconds, took_us[calls / 2], took_us[(int) (calls * 0.99)]);
        return 0;
}
