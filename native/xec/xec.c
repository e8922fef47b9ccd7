/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xec's plain calls, without waiting for an interpreter: METHOD ARGUMENT..., get PROP and set PROP VALUE on the
 * system bus, where all values are texts, integers and booleans, or go out as arrays of them.
 *
 * Whatever else the words ask for, and whatever is wrong with them, is xec-python's: it is run in our place
 * before anything was changed on the bus, so that there is one home for every message and every other type.
 * What this program prints is what xec-python would print; tests/system/test_xec.py runs both.
 */
#include <dbus/dbus.h>
#include <errno.h>
#include <expat.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define XENMGR "com.citrix.xenclient.xenmgr"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"
#define OTHER "xec-python"
#define TIMEOUT_MS 200000
#define MAX_ARGUMENTS 32
#define SYSLOG_USER_INFO (1 << 3 | 6)

static char **words; /* our own argv, for xec-python */

/* Another program beside this one does it.  Nothing was changed on the bus so far. */
static void hand_over(void)
{
    char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof OTHER - 1);
    char *slash;

    if (size > 0) {
        path[size] = '\0';
        slash = strrchr(path, '/');
        strcpy(slash + 1, OTHER);
        signal(SIGPIPE, SIG_DFL); /* libdbus ignores it */
        execv(path, words);
    }
    fprintf(stderr, "xec: cannot run %s: %s\n", OTHER, strerror(errno));
    exit(1);
}

/* The words */

struct request {
    const char *service, *path, *interface;
    bool is_quiet;
    enum { CALL, GET, SET } action;
    char *name;
    char **values;
    int count;
};

static bool is(const char *word, const char *brief, const char *full)
{
    return !strcmp(word, brief) || !strcmp(word, full);
}

static void first(const char **place, const char *value)
{
    if (!*place) /* of an option given twice the first counts */
        *place = value;
}

static struct request read_words(int count, char **argv)
{
    struct request asked = {0};
    int at = 1;

    for (; at < count && argv[at][0] == '-'; at++) {
        const char **place = is(argv[at], "-s", "--service") ? &asked.service
            : is(argv[at], "-o", "--object") ? &asked.path
            : is(argv[at], "-i", "--interface") ? &asked.interface : NULL;
        if (is(argv[at], "-q", "--query"))
            asked.is_quiet = true;
        else if (place && at + 1 < count)
            first(place, argv[++at]);
        else
            hand_over();
    }
    first(&asked.service, XENMGR);
    first(&asked.path, "/");
    first(&asked.interface, "");
    if (at == count)
        hand_over();
    asked.name = argv[at++];
    asked.action = !strcmp(asked.name, "get") ? GET : !strcmp(asked.name, "set") ? SET : CALL;
    if (!strcmp(asked.name, "getall") || !strcmp(asked.name, "watch"))
        hand_over();
    if (asked.action != CALL) {
        if (count - at != (asked.action == GET ? 1 : 2))
            hand_over();
        asked.name = argv[at++];
    } else {
        for (char *c = asked.name; *c; c++)
            if (*c == '-')
                *c = '_';
    }
    asked.values = argv + at;
    asked.count = count - at;
    return asked;
}

/* A member of an object, by introspection: the first that has the name, in the interface if one is given. */

struct member {
    const struct request *asked;
    int depth;
    bool is_right_interface, is_inside, is_found;
    char interface[256];
    char ins[256], outs[256];
};

static const char *value_of(const char **attributes, const char *name)
{
    for (; *attributes; attributes += 2)
        if (!strcmp(attributes[0], name))
            return attributes[1];
    return NULL;
}

static void add_type(char *types, const char *type)
{
    if (!type || strlen(types) + strlen(type) >= 256)
        hand_over();
    strcat(types, type);
}

static void XMLCALL begin(void *data, const char *element, const char **attributes)
{
    struct member *found = data;
    const char *name = value_of(attributes, "name");
    const char *kind = found->asked->action == CALL ? "method" : "property";
    const char *way;

    found->depth++;
    if (found->depth == 2 && !strcmp(element, "interface")) {
        if (!name || strlen(name) >= sizeof found->interface)
            hand_over();
        found->is_right_interface = !*found->asked->interface || !strcmp(name, found->asked->interface);
        if (!found->is_found)
            strcpy(found->interface, name);
    } else if (found->depth == 3 && found->is_right_interface && !found->is_found && !strcmp(element, kind)) {
        if (name && !strcmp(name, found->asked->name)) {
            found->is_found = found->is_inside = true;
            if (found->asked->action != CALL)
                add_type(found->ins, value_of(attributes, "type"));
        }
    } else if (found->depth == 4 && found->is_inside && !strcmp(element, "arg")) {
        way = value_of(attributes, "direction");
        add_type(way && !strcmp(way, "out") ? found->outs : found->ins, value_of(attributes, "type"));
    }
}

static void XMLCALL end(void *data, const char *element)
{
    struct member *found = data;

    (void)element;
    if (--found->depth == 2)
        found->is_inside = false;
    if (found->depth == 1)
        found->is_right_interface = false;
}

static void XMLCALL refuse(void *data, const char *name, int is_parameter, const char *value, int size,
               const char *base, const char *system, const char *public, const char *notation)
{
    (void)data, (void)name, (void)is_parameter, (void)value, (void)size;
    (void)base, (void)system, (void)public, (void)notation;
    hand_over(); /* nobody needs entities; a document that declares some is refused there */
}

static DBusMessage *new_call(const struct request *asked, const char *interface, const char *member)
{
    DBusMessage *call = dbus_message_new_method_call(asked->service, asked->path, interface, member);

    if (!call)
        hand_over();
    return call;
}

static struct member find(DBusConnection *bus, const struct request *asked)
{
    struct member found = {.asked = asked};
    DBusMessage *call = new_call(asked, INTROSPECTABLE, "Introspect");
    DBusMessage *reply = dbus_connection_send_with_reply_and_block(bus, call, TIMEOUT_MS, NULL);
    XML_Parser parser = XML_ParserCreate(NULL);
    const char *text;

    if (!reply || !dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
        hand_over();
    XML_SetUserData(parser, &found);
    XML_SetElementHandler(parser, begin, end);
    XML_SetEntityDeclHandler(parser, refuse);
    if (XML_Parse(parser, text, strlen(text), 1) != XML_STATUS_OK || !found.is_found)
        hand_over();
    XML_ParserFree(parser);
    dbus_message_unref(reply);
    dbus_message_unref(call);
    return found;
}

/* Values */

static bool is_integer(int type)
{
    return type && strchr("ynqiuxt", type);
}

static bool is_plain(int type)
{
    return type && strchr("sob", type);
}

/* Whether the types of what comes back are ones that we print. */
static bool is_printable(const char *types)
{
    for (; *types; types++) {
        if (*types == 'a')
            types++;
        else if (*types == 'y')
            continue;
        if (*types == 'y' || !(is_plain(*types) || is_integer(*types)))
            return false; /* an array of bytes is one text */
    }
    return true;
}

static const struct {
    char type;
    int64_t least;
    uint64_t most;
} RANGES[] = {
    {'y', 0, UINT8_MAX}, {'n', INT16_MIN, INT16_MAX}, {'q', 0, UINT16_MAX}, {'i', INT32_MIN, INT32_MAX},
    {'u', 0, UINT32_MAX}, {'x', INT64_MIN, INT64_MAX}, {'t', 0, UINT64_MAX},
};

static void append_integer(DBusMessageIter *to, int type, const char *word)
{
    bool is_negative = word[0] == '-';
    const char *digits = word + is_negative;
    DBusBasicValue value;
    uint64_t size, most;
    size_t row = 0;

    while (RANGES[row].type != type)
        row++;
    if (!*digits || strlen(digits) > 19 || strspn(digits, "0123456789") != strlen(digits))
        hand_over();
    size = strtoull(digits, NULL, 10);
    most = is_negative ? 0 - (uint64_t)RANGES[row].least : RANGES[row].most;
    if (size > most)
        hand_over();
    value.u64 = is_negative ? 0 - size : size;
    switch (type) {
    case 'y': value.byt = (unsigned char)value.u64; break;
    case 'n': case 'q': value.u16 = (uint16_t)value.u64; break;
    case 'i': case 'u': value.u32 = (uint32_t)value.u64; break;
    }
    dbus_message_iter_append_basic(to, type, &value);
}

static void append(DBusMessageIter *to, int type, const char *word)
{
    dbus_bool_t is_true = !strcmp(word, "true") || !strcmp(word, "1");

    if (is_integer(type)) {
        append_integer(to, type, word);
    } else if (type == 'b') {
        if (!is_true && strcmp(word, "false") && strcmp(word, "0"))
            hand_over();
        dbus_message_iter_append_basic(to, type, &is_true);
    } else {
        if (!is_plain(type) || !(type == 'o' ? dbus_validate_path : dbus_validate_utf8)(word, NULL))
            hand_over();
        dbus_message_iter_append_basic(to, type, &word);
    }
}

static void print_one(DBusMessageIter *from, FILE *out)
{
    DBusBasicValue value;

    dbus_message_iter_get_basic(from, &value);
    switch (dbus_message_iter_get_arg_type(from)) {
    case 'b': fprintf(out, value.bool_val ? "true\n" : "false\n"); break;
    case 'y': fprintf(out, "%u\n", value.byt); break;
    case 'n': fprintf(out, "%d\n", value.i16); break;
    case 'q': fprintf(out, "%u\n", value.u16); break;
    case 'i': fprintf(out, "%d\n", value.i32); break;
    case 'u': fprintf(out, "%u\n", value.u32); break;
    case 'x': fprintf(out, "%lld\n", (long long)value.i64); break;
    case 't': fprintf(out, "%llu\n", (unsigned long long)value.u64); break;
    default: fprintf(out, "%s\n", value.str);
    }
}

static void print_all(DBusMessageIter *from, FILE *out)
{
    DBusMessageIter items;

    do {
        if (dbus_message_iter_get_arg_type(from) != DBUS_TYPE_ARRAY) {
            print_one(from, out);
            continue;
        }
        dbus_message_iter_recurse(from, &items);
        if (dbus_message_iter_get_arg_type(&items) == DBUS_TYPE_INVALID)
            fprintf(out, "\n"); /* sic: an empty array is an empty line */
        else
            print_all(&items, out);
    } while (dbus_message_iter_next(from));
}

static int print_error(DBusConnection *bus, const struct request *asked, const char *member, DBusMessage *reply)
{
    DBusMessageIter from;
    const char *text, *between = ": ";

    if (!reply && !dbus_connection_get_is_connected(bus)) {
        fprintf(stderr, "xec: the connection to the bus is lost\n");
        return 1;
    }
    if (!reply) {
        fprintf(stderr, "xec: %s did not answer %s in %d s\n", asked->service, member, TIMEOUT_MS / 1000);
        return 1;
    }
    fprintf(stderr, "%s", dbus_message_get_error_name(reply));
    for (dbus_message_iter_init(reply, &from); dbus_message_iter_get_arg_type(&from) == DBUS_TYPE_STRING;
         dbus_message_iter_next(&from), between = ", ") {
        dbus_message_iter_get_basic(&from, &text);
        fprintf(stderr, "%s%s", between, text);
    }
    fprintf(stderr, "%s\n", *between == ':' ? ": " : "");
    return 1;
}

/* As libdbus would, but an error reply stays a message; NULL when none comes. */
static DBusMessage *answer_to(DBusConnection *bus, DBusMessage *call)
{
    DBusPendingCall *pending = NULL;
    DBusMessage *reply;

    if (!dbus_connection_send_with_reply(bus, call, &pending, TIMEOUT_MS) || !pending)
        return NULL;
    dbus_pending_call_block(pending);
    reply = dbus_pending_call_steal_reply(pending);
    return reply && dbus_message_get_sender(reply) ? reply : NULL; /* libdbus's own errors have no sender */
}

static int print_reply(DBusConnection *bus, const struct request *asked, const char *member, DBusMessage *reply)
{
    DBusMessageIter from;

    if (!reply || dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR)
        return print_error(bus, asked, member, reply);
    if (dbus_message_iter_init(reply, &from)) {
        if (!is_printable(dbus_message_get_signature(reply))) {
            fprintf(stderr, "xec: %s answers %s with other types than it said\n", asked->service, member);
            return 1;
        }
        print_all(&from, stdout);
    }
    if (fflush(stdout) && errno != EPIPE) {
        fprintf(stderr, "xec: cannot print: %s\n", strerror(errno));
        return 1;
    }
    return ferror(stdout) ? 1 : 0;
}

/* Actions */

static int call_method(DBusConnection *bus, const struct request *asked)
{
    struct member found = find(bus, asked);
    DBusMessage *call;
    DBusMessageIter to;

    if ((int)strlen(found.ins) != asked->count || !is_printable(found.outs))
        hand_over(); /* a type of more than one letter is not ours, nor is a wrong number */
    if (!dbus_validate_interface(found.interface, NULL))
        hand_over();
    call = new_call(asked, found.interface, asked->name);
    dbus_message_iter_init_append(call, &to);
    for (int i = 0; i < asked->count; i++)
        append(&to, found.ins[i], asked->values[i]);
    return print_reply(bus, asked, asked->name, answer_to(bus, call));
}

static int set_property(DBusConnection *bus, const struct request *asked)
{
    struct member found = find(bus, asked);
    DBusMessage *call = new_call(asked, PROPERTIES, "Set");
    const char *interface = found.interface;
    DBusMessageIter to, variant;

    if (strlen(found.ins) != 1 || !(is_plain(found.ins[0]) || is_integer(found.ins[0])))
        hand_over();
    dbus_message_append_args(call, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING, &asked->name, DBUS_TYPE_INVALID);
    dbus_message_iter_init_append(call, &to);
    dbus_message_iter_open_container(&to, DBUS_TYPE_VARIANT, found.ins, &variant);
    append(&variant, found.ins[0], asked->values[0]);
    dbus_message_iter_close_container(&to, &variant);
    return print_reply(bus, asked, "Set", answer_to(bus, call));
}

static int get_property(DBusConnection *bus, const struct request *asked)
{
    struct member found = {0};
    const char *interface = asked->interface;
    DBusMessage *call, *reply;
    DBusMessageIter from, value;
    char *types;

    if (!*interface) {
        found = find(bus, asked);
        interface = found.interface;
    }
    call = new_call(asked, PROPERTIES, "Get");
    dbus_message_append_args(call, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING, &asked->name, DBUS_TYPE_INVALID);
    reply = answer_to(bus, call);
    if (!reply || dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR)
        return print_error(bus, asked, "Get", reply);
    if (!dbus_message_has_signature(reply, "v") || !dbus_message_iter_init(reply, &from))
        hand_over(); /* to be read once more: reading changes nothing */
    dbus_message_iter_recurse(&from, &value);
    types = dbus_message_iter_get_signature(&value);
    if (!is_printable(types))
        hand_over();
    print_all(&value, stdout);
    return fflush(stdout) ? 1 : 0;
}

/* One line to syslog, if there is one that takes it at once. */
static void log_invocation(int count, char **argv)
{
    const char *root = getenv("OPENXT_ROOT");
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    char line[8192], when[32];
    time_t now = time(NULL);
    int size, sock;

    snprintf(place.sun_path, sizeof place.sun_path, "%s/dev/log", root ? root : "");
    strftime(when, sizeof when, "%b %e %H:%M:%S", localtime(&now));
    size = snprintf(line, sizeof line, "<%d>%s xec: invoked with:", SYSLOG_USER_INFO, when);
    for (int i = 1; i < count && size < (int)sizeof line; i++)
        size += snprintf(line + size, sizeof line - size, " %s", argv[i]);
    if (size >= (int)sizeof line)
        size = sizeof line - 1;
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock >= 0 && !connect(sock, (struct sockaddr *)&place, sizeof place))
        send(sock, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sock >= 0)
        close(sock);
}

static DBusConnection *connected(void)
{
    const char *given = getenv("DBUS_SYSTEM_BUS_ADDRESS");
    const char *address = given && *given ? given : "unix:path=/var/run/dbus/system_bus_socket";
    DBusConnection *bus = dbus_connection_open_private(address, NULL);

    if (!bus || !dbus_bus_register(bus, NULL))
        hand_over();
    dbus_connection_set_exit_on_disconnect(bus, FALSE);
    return bus;
}

static void check_names(const struct request *asked)
{
    bool are_good = dbus_validate_bus_name(asked->service, NULL) && dbus_validate_path(asked->path, NULL)
        && (!*asked->interface || dbus_validate_interface(asked->interface, NULL))
        && (asked->action == CALL ? dbus_validate_member : dbus_validate_utf8)(asked->name, NULL)
        && asked->count <= MAX_ARGUMENTS;

    if (!are_good)
        hand_over();
}

int main(int count, char **argv)
{
    char *own[count + 1];
    struct request asked;
    DBusConnection *bus;
    int status;

    words = argv;
    for (int i = 0; i < count; i++)
        own[i] = strdup(argv[i]); /* the method's dashes are changed in ours */
    own[count] = NULL;
    asked = read_words(count, own);
    check_names(&asked);
    bus = connected();
    status = asked.action == CALL ? call_method(bus, &asked)
        : asked.action == SET ? set_property(bus, &asked) : get_property(bus, &asked);
    if (!asked.is_quiet)
        log_invocation(count, argv);
    return status;
}
