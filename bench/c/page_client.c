// SPDX-License-Identifier: GPL-2.0-or-later
// Loads a WebSocket server: one text is sent over and over, and each one is answered by one.
// Usage: page_client SOCKET CALLS DEPTH FIRST TEXT
//     FIRST is sent once, and answered, before anything is measured.  DEPTH texts are under way at a time.
//     In the text, "#######" counts up from 1000000.
// Prints: answers per second.      Build: gcc -O2 page_client.c

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

enum { BUFFER = 4 << 20, TEXT_MAX = 60000 };

static int fd;
static uint8_t input[BUFFER];
static size_t input_at, input_end;

static void die(const char *what) {
        fprintf(stderr, "page_client: %s: %s\n", what, strerror(errno));
        exit(1);
}

static double now_s(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec + t.tv_nsec / 1e9;
}

static void send_all(const void *data, size_t size) {
        for (const char *at = data; size;) {
                ssize_t n = write(fd, at, size);

                if (n < 0 && errno != EINTR)
                        die("write");
                if (n > 0)
                        at += n, size -= n;
        }
}

static void read_more(void) {
        memmove(input, input + input_at, input_end - input_at);
        input_end -= input_at;
        input_at = 0;
        ssize_t n = read(fd, input + input_end, BUFFER - input_end);

        if (n <= 0)
                die("read");
        input_end += n;
}

// A masked text frame; its key is zero, so that the text stays as it is.
static size_t put_frame(uint8_t *to, const char *text, size_t size) {
        size_t at = 2;

        to[0] = 0x81;
        if (size < 126) {
                to[1] = 0x80 | size;
        } else {
                to[1] = 0x80 | 126;
                to[at++] = size >> 8;
                to[at++] = size;
        }
        memset(to + at, 0, 4);
        memcpy(to + at + 4, text, size);
        return at + 4 + size;
}

// Frames that are whole in the input are taken; their number.
static int take_frames(void) {
        int found = 0;

        for (;;) {
                uint8_t *at = input + input_at;
                size_t have = input_end - input_at, head = 2, size;

                if (have < 4)
                        return found;
                size = at[1] & 0x7f;
                if (size == 126)
                        size = at[2] << 8 | at[3], head = 4;
                if (have < head + size)
                        return found;
                if ((at[0] & 0xf) == 8 || memmem(at, head + size, "\"error\"", 7)) {
                        fprintf(stderr, "page_client: %.*s\n", (int) size, at + head);
                        exit(2);
                }
                input_at += head + size;
                found++;
        }
}

static void await_frame(void) {
        while (!take_frames())
                read_more();
}

static void shake_hands(const char *path) {
        static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        uint8_t *end;

        strncpy(address.sun_path, path, sizeof address.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                die(path);
        send_all(request, sizeof request - 1);
        while (!(end = memmem(input, input_end, "\r\n\r\n", 4)))
                read_more();
        input_at = end + 4 - input;
}

int main(int argc, char **argv) {
        static uint8_t frame[TEXT_MAX + 16];
        char number[16];

        if (argc != 6 || strlen(argv[5]) > TEXT_MAX) {
                fprintf(stderr, "usage: page_client SOCKET CALLS DEPTH FIRST TEXT\n");
                return 1;
        }
        int calls = atoi(argv[2]), depth = atoi(argv[3]), sent = 0, answered = 0;

        shake_hands(argv[1]);
        send_all(frame, put_frame(frame, argv[4], strlen(argv[4])));
        await_frame();

        size_t size = put_frame(frame, argv[5], strlen(argv[5]));
        uint8_t *count_at = memmem(frame, size, "#######", 7), *batch = malloc((size_t) depth * size);
        double start = now_s();

        while (answered < calls) {
                size_t batched = 0;

                for (; sent < calls && sent - answered < depth; sent++) {
                        snprintf(number, sizeof number, "%07d", 1000000 + sent);
                        memcpy(count_at, number, 7);
                        memcpy(batch + batched, frame, size);
                        batched += size;
                }
                send_all(batch, batched);
                read_more();
                answered += take_frames();
        }
        printf("%.0f\n", calls / (now_s() - start));
        return 0;
}
