/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uses the generated clients against running daemons; prints what it saw, one fact a line. */
#include <stdio.h>

#include "db_client.h"
#include "dbus_client.h"

#define DBD "com.citrix.xenclient.db"

static void check(int r, const char *what, sd_bus_error *error)
{
    if (r >= 0) return;
    fprintf(stderr, "%s: %s: %s\n", what, strerror(-r), error->message ? error->message : "");
    exit(1);
}

int main(void)
{
    sd_bus *bus = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    char *value, **names;
    int r, owned;

    check(sd_bus_open_system(&bus), "open", &error);
    check(com_citrix_xenclient_db_write(bus, DBD, "/", "/c/one", "1", &error), "write", &error);
    check(com_citrix_xenclient_db_write(bus, DBD, "/", "/c/two", "2", &error), "write", &error);
    check(com_citrix_xenclient_db_read(bus, DBD, "/", "/c/one", &value, &error), "read", &error);
    printf("read %s\n", value);
    free(value);
    check(com_citrix_xenclient_db_list(bus, DBD, "/", "/c", &names, &error), "list", &error);
    for (char **name = names; *name; name++) printf("name %s\n", *name);
    xc_free_texts(names);
    check(org_freedesktop_DBus_NameHasOwner(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", DBD, &owned, &error),
          "owner", &error);
    printf("owned %d\n", owned);
    r = com_citrix_xenclient_db_inject(bus, DBD, "/", "/c", "{bad", &error);
    printf("refused %d %s\n", r < 0, error.name);
    sd_bus_error_free(&error);
    r = com_citrix_xenclient_db_read_binary(bus, DBD, "/", "/c/none", (uint8_t **) &value, &(size_t){0}, &error);
    printf("nothing left behind %d %d\n", r < 0, value == NULL);
    sd_bus_error_free(&error);
    sd_bus_unref(bus);
    return 0;
}
