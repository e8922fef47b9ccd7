// SPDX-License-Identifier: GPL-2.0-or-later
// What the database daemon is measured against: a C service on sd-bus that does nothing but answer.
//     read(s) -> s      write(s, s)      on / of org.openxt.bench.Echo
// Usage: echo_service        prints "ready" when it answers.   Build: gcc -O2 echo_service.c -lsystemd

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define NAME "org.openxt.bench.Echo"

static int do_read(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path;
        int r = sd_bus_message_read(m, "s", &path);

        return r < 0 ? r : sd_bus_reply_method_return(m, "s", path);
}

static int do_write(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *value;
        int r = sd_bus_message_read(m, "ss", &path, &value);

        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable methods[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("read", "s", "s", do_read, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("write", "ss", "", do_write, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

int main(void) {
        sd_bus *bus;
        int r = sd_bus_open_system(&bus);

        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, "/", NAME, methods, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, NAME, 0);
        if (r < 0) {
                fprintf(stderr, "echo_service: %s\n", strerror(-r));
                return 1;
        }
        puts("ready");
        fflush(stdout);
        while (r >= 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        }
        return 1;
}
