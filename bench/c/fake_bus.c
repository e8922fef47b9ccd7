// SPDX-License-Identifier: GPL-2.0-or-later
// A message bus that takes no time: it authenticates anybody and answers every call itself, with the call's
// own body; what is asked of org.freedesktop.DBus is answered with the one name that it gives to everybody.
// So all that a client waits for is what is between it and the bus.
// Usage: fake_bus SOCKET      Build: gcc -O2 fake_bus.c

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CALL = 1, RETURN = 2, NO_REPLY = 1, CLIENTS_MAX = 1024, BUFFER = 1 << 20, OUT = 4 << 20 };

struct client {
        int fd, is_authenticated;
        uint8_t *input;
        size_t size;
        uint32_t serial;
};

static struct client clients[CLIENTS_MAX];
static int count;
static uint8_t out[OUT];
static const char NAME[] = ":1.7", BUS[] = "org.freedesktop.DBus", PEER[] = ":1.1";

static void send_all(int fd, const void *data, size_t size) {
        for (const char *at = data; size;) {
                ssize_t n = write(fd, at, size);

                if (n <= 0 && errno != EINTR)
                        return;
                if (n > 0)
                        at += n, size -= n;
        }
}

static size_t put_text(uint8_t *to, size_t at, int code, char type, const char *text, uint32_t size) {
        while (at & 7)
                to[at++] = 0;
        memcpy(to + at, (uint8_t[]){code, 1, type, 0}, 4);
        at += 4;
        if (type == 'g') {
                to[at++] = size;
        } else {
                memcpy(to + at, &size, 4);
                at += 4;
        }
        memcpy(to + at, text, size);
        to[at + size] = 0;
        return at + size + 1;
}

static size_t put_answer(uint8_t *to, struct client *c, uint32_t serial, const char *sender,
                         const uint8_t *body, uint32_t body_size) {
        uint32_t fields;
        size_t at = 16;

        c->serial++;
        memcpy(to, (uint8_t[]){'l', RETURN, NO_REPLY, 1}, 4);
        memcpy(to + 4, &body_size, 4);
        memcpy(to + 8, &c->serial, 4);
        memcpy(to + at, (uint8_t[]){5, 1, 'u', 0}, 4);
        memcpy(to + at + 4, &serial, 4);
        at = put_text(to, at + 8, 6, 's', NAME, strlen(NAME));
        if (body_size)
                at = put_text(to, at, 8, 'g', "s", 1);
        at = put_text(to, at, 7, 's', sender, strlen(sender));
        fields = at - 16;
        memcpy(to + 12, &fields, 4);
        while (at & 7)
                to[at++] = 0;
        memcpy(to + at, body, body_size);
        return at + body_size;
}

static void drop(struct client *c, size_t size) {
        memmove(c->input, c->input + size, c->size - size);
        c->size -= size;
}

static void authenticate(struct client *c) {
        while (!c->is_authenticated && c->size) {
                if (!c->input[0]) {
                        drop(c, 1);
                        continue;
                }
                uint8_t *end = memmem(c->input, c->size, "\r\n", 2);

                if (!end)
                        return;
                c->is_authenticated = !strncmp((char *) c->input, "BEGIN", 5);
                if (!strncmp((char *) c->input, "NEGOTIATE", 9))
                        send_all(c->fd, "AGREE_UNIX_FD\r\n", 15);
                else if (!c->is_authenticated)
                        send_all(c->fd, "OK 0123456789abcdef0123456789abcdef\r\n", 37);
                drop(c, end + 2 - c->input);
        }
}

static void answer_all(struct client *c) {
        size_t at = 0, made = 0;

        while (c->size - at >= 16) {
                uint8_t *message = c->input + at;
                uint32_t body, serial, fields;

                memcpy(&body, message + 4, 4);
                memcpy(&serial, message + 8, 4);
                memcpy(&fields, message + 12, 4);
                size_t head = 16 + ((fields + 7) & ~7u);

                if (c->size - at < head + body)
                        break;
                if (message[1] == CALL && !(message[2] & NO_REPLY)) {
                        static const uint8_t name[] = "\4\0\0\0:1.7";
                        int is_bus = memmem(message + 16, fields, "/org/freedesktop/DBus", 21) != NULL;
                        int is_match = memmem(message + 16, fields, "Match", 5) != NULL;

                        if (made + head + body + 256 > OUT)
                                send_all(c->fd, out, made), made = 0;
                        if (is_bus)
                                made += put_answer(out + made, c, serial, BUS, name, is_match ? 0 : sizeof name);
                        else
                                made += put_answer(out + made, c, serial, PEER, message + head, body);
                }
                at += head + body;
        }
        drop(c, at);
        send_all(c->fd, out, made);
}

static int serve(struct client *c) {
        ssize_t n = read(c->fd, c->input + c->size, BUFFER - c->size);

        if (n <= 0)
                return -1;
        c->size += n;
        authenticate(c);
        if (c->is_authenticated)
                answer_all(c);
        return 0;
}

static void forget(int i) {
        close(clients[i].fd);
        free(clients[i].input);
        clients[i] = clients[--count];
}

int main(int argc, char **argv) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        static struct pollfd polled[CLIENTS_MAX + 1];
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);

        strncpy(address.sun_path, argc > 1 ? argv[1] : "", sizeof address.sun_path - 1);
        unlink(address.sun_path);
        if (bind(listener, (struct sockaddr *) &address, sizeof address) < 0 || listen(listener, 64) < 0) {
                perror("fake_bus");
                return 1;
        }
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                polled[0] = (struct pollfd){listener, POLLIN, 0};
                for (int i = 0; i < count; i++)
                        polled[i + 1] = (struct pollfd){clients[i].fd, POLLIN, 0};
                poll(polled, count + 1, -1);
                for (int i = count - 1; i >= 0; i--)
                        if (polled[i + 1].revents && serve(&clients[i]) < 0)
                                forget(i);
                if (polled[0].revents && count < CLIENTS_MAX)
                        clients[count++] =
                                (struct client){accept(listener, NULL, NULL), 0, malloc(BUFFER), 0, 0};
        }
}
