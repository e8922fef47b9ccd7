// SPDX-License-Identifier: GPL-2.0-or-later
// What GetAll of a VM is measured against: a C service on sd-bus with 124 string properties, the number a
// VM has, on / of org.openxt.bench.Properties.  sd-bus answers org.freedesktop.DBus.Properties itself.
// Usage: properties_service   prints "ready" when it answers.   Build: gcc -O2 properties_service.c -lsystemd

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define NAME "org.openxt.bench.Properties"

static int get(sd_bus *bus, const char *path, const char *interface, const char *property,
               sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "value-string");
}

#define ONE(n) SD_BUS_PROPERTY("property" #n, "s", get, 0, 0)
#define TEN(n) ONE(n##0), ONE(n##1), ONE(n##2), ONE(n##3), ONE(n##4), ONE(n##5), ONE(n##6), ONE(n##7), ONE(n##8), ONE(n##9)

static const sd_bus_vtable properties[] = {
        SD_BUS_VTABLE_START(0),
        TEN(a), TEN(b), TEN(c), TEN(d), TEN(e), TEN(f), TEN(g), TEN(h), TEN(i), TEN(j), TEN(k), TEN(l),
        ONE(m0), ONE(m1), ONE(m2), ONE(m3),
        SD_BUS_VTABLE_END,
};

int main(void) {
        sd_bus *bus;
        int r = sd_bus_open_system(&bus);

        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, "/", NAME, properties, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, NAME, 0);
        if (r < 0) {
                fprintf(stderr, "properties_service: %s\n", strerror(-r));
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
