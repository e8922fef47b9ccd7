# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages: a row a program.  Options and commands come from the program itself."""

from dataclasses import fields
from pathlib import Path

from manual.options import commands_of, of_options, of_parser
from manual.page import Page
from openxt_dbd import __main__ as dbd
from openxt_dbd import db_check
from openxt_house import __main__ as house
from openxt_idl import settings as rpcgen
from openxt_ovf import options as ovf
from openxt_rpcproxy import rules_cmd
from openxt_rpcproxy import settings as rpcproxy
from openxt_rpcproxy.budget import Limits
from openxt_sim import __main__ as sim
from openxt_uid import settings as uid
from openxt_xec import grammar, xec_vm
from openxt_xenmgr import __main__ as xenmgr
from openxt_xenvm import cmd, options
from openxt_xenvm.tasks import TASKS
from openxt_xenvm.xenops.table import COMMANDS

ROOT = ("OPENXT_ROOT", "A folder to take for the root of the host: all files are below it.")
LOG = ("OPENXT_LOG", "`stderr` for messages there instead of syslog.")
BUS = (
    "DBUS_SYSTEM_BUS_ADDRESS",
    "Where the system bus is; default `unix:path=/var/run/dbus/system_bus_socket`.",
)
XEN = ("OPENXT_HYPERVISOR", "`libxc`, the default, or `simulated:` and the socket of a simulated host.")
STORE = ("XENSTORED_PATH", "The socket of xenstored, when it is not where Xen has it.")
DAEMON = (BUS, ROOT, LOG)
HOST = (*DAEMON, XEN, STORE)
TOOL_STATUS = (
    ("0", "Done."),
    ("1", "It did not work; one line on standard error says why."),
    ("2", "Wrong words."),
)

PAGES = (
    Page(
        "dbd", 8, "configuration database of an OpenXT host",
        ("`dbd` [options]",),
        """
        Keeps the tree of configuration in `/config` and serves it on the system bus as `com.citrix.xenclient.db`.
        Every change is in a journal before its caller hears of it, and safe from a power cut within 3 seconds, when
        it reaches its file too; very many files, or large ones, take turns. Killed at any point, the next `dbd` finds what
        was acknowledged. A file that cannot be read is set aside, and the rest is served.

        A virtual machine sees no more than its own dom-store, below quotas.
        """,
        of_parser(dbd.parser()),
        sections={"Signals": """
        SIGHUP saves, then reads the files again. SIGTERM saves and ends; what could not be saved stays in the
        journal, and the exit status is 1.
        """},
        files=(
            ("/config/db", "Everything but virtual machines and dom-stores."),
            ("/config/vms/UUID.db, /config/dom-store/UUID.db", "One virtual machine, one dom-store."),
            ("/config/history", "The last revisions, see db-log(1)."),
            ("/usr/share/xenclient/db.default", "What a new database begins with."),
        ),
        environment=DAEMON,
        status=(("0", "Ended as asked."), ("1", "It could not start, or not save at the end.")),
        see=("db-cmd(1)", "db-log(1)", "db-check(1)", "upgrade-db(8)"),
    ),
    Page(
        "db-cmd", 1, "read and write the configuration database",
        (
            "`db-read` PATH", "`db-write` PATH VALUE", "`db-rm` PATH", "`db-exists` [`--status`] PATH",
            "`db-nodes` PATH", "`db-cat` PATH", "`db-ls` [`-f`] [PATH]", "`db-cmd` COMMAND WORD…",
        ),
        """
        `db-read` prints a value, `db-write` stores one and `db-rm` removes an entry with all below it. `db-exists`
        prints true or false; with `--status` it also exits with 1 for false. `db-nodes` prints the names of the
        entries below, on one line; `db-cat` prints a binary value as it is. `db-ls` prints what is below, indented,
        or with whole paths (`-f`). `db-cmd` takes the same words without `db-`.

            db-write /xenmgr/vm-stop-deadline 60
            db-ls /vm
        """,
        environment=(BUS,),
        status=(("0", "Done."), ("1", "Refused, or wrong words."), ("2", "No answer, or an error of the database.")),
        see=("dbd(8)", "db-log(1)"),
        also=("db-read", "db-write", "db-rm", "db-exists", "db-nodes", "db-cat", "db-ls"),
    ),
    Page(
        "db-log", 1, "what the configuration was, back to it, and what becomes of it",
        (
            "`db-log` [`--json`] [`-n` COUNT] [PATH [REVISION]]", "`db-undo` [`--json`] PATH [REVISION]",
            "`db-watch` [`--json`] [`-n` COUNT] [PATH]",
        ),
        """
        `db-log` prints the last revisions that changed something at PATH: number, time, who did it, and which
        entries; with a REVISION, what that one changed. `db-undo` takes a revision back, else the last one, which
        makes a new revision; it refuses when something was changed there later. `db-watch` tells of changes as they
        are made, until it is interrupted or COUNT were told.
        """,
        (("--json", "One JSON value a line."), ("-n COUNT", "At most so many; `db-log` prints 20.")),
        environment=(BUS,),
        status=(("0", "Done."), ("1", "Wrong words."), ("2", "No answer, or an error of the database.")),
        see=("dbd(8)", "db-cmd(1)"),
        also=("db-undo", "db-watch"),
    ),
    Page(
        "db-check", 1, "does what is stored of the virtual machines make sense?",
        ("`db-check` [`--json`] [UUID…]",),
        """
        Prints every stored key of a virtual machine whose value is none that it can have, with the value and what is
        expected, and the files that dbd(8) has set aside.
        """,
        of_parser(db_check.parser()),
        environment=(BUS,),
        status=(("0", "Everything makes sense."), ("1", "Something does not."), ("2", "No answer.")),
        see=("dbd(8)",),
    ),
    Page(
        "upgrade-db", 8, "make the database one of this version",
        ("`upgrade-db`",),
        """
        Is run before dbd(8) starts, on every boot. It upgrades a database from version 9 on, step by step, each step
        whole or not at all; a copy of what was is in `/config/backups`. Killed at any point, the next run goes on.
        It also forgets checksums when `/config/rehash-vms` is there, and the suspended user interface of an
        earlier build.
        """,
        (("-h, --help", "Print a summary."),),
        environment=(ROOT,),
        status=(("0", "dbd may start; an upgrade that stopped has said so."), ("1", "dbd must not start.")),
        see=("dbd(8)",),
    ),
    Page(
        "xenmgr", 8, "manager of the virtual machines of a host",
        ("`xenmgr` [options]",),
        """
        Owns the configuration of all virtual machines, and what concerns more than one of them: their order at boot
        and at shutdown, what they need, devices passed through, networks, templates, policies, sleep of the host.
        Serves `com.citrix.xenclient.xenmgr` on the system bus, and starts a monitor, xenvm(8), for each virtual
        machine through xenvm-zygote(8).

        It keeps nothing in memory that matters: ended and started again, it goes on with what it finds.
        """,
        of_parser(xenmgr.parser()),
        sections={"Signals": "SIGUSR2 puts the host to sleep. SIGTERM ends it; the virtual machines run on."},
        files=(
            ("/usr/share/xenmgr-1.0/templates", "Templates of virtual machines."),
            ("/tmp/xenmgr-xenvm-UUID", "What a monitor is told of its virtual machine."),
        ),
        environment=HOST,
        see=("xec(1)", "xec-vm(1)", "dbd(8)", "xenvm(8)"),
    ),
    Page(
        "xenvm", 8, "monitor of one virtual machine",
        ("`xenvm` `--config` FILE [options]", "`xenvm` `--uuid` UUID [options]"),
        """
        Builds the domain of one virtual machine, gives it its devices, watches it, and takes it down. It serves tasks
        on the system bus as `org.xen.vm.uuid_UUID`, with `_` for `-`, and on a UNIX socket if asked. When it is
        killed, its domain runs on, and the next monitor of the same virtual machine takes it over.
        """,
        of_parser(options.parser()),
        files=(
            ("/var/run/xenvm/UUID.json", "What the next monitor must know of a running domain."),
            ("/var/run/xenvm.lock", "In it each monitor holds one byte: one monitor a virtual machine."),
            ("/var/run/xenvm/vm-UUID", "The UNIX socket, with `--monitor-json true`."),
            ("/var/log/xenvm/crash-UUID-TIME.txt", "What was known when a guest crashed."),
            ("/tmp/xenvm-debug-UUID", "Every step, if the config file says `debug`; its `output` names another file."),
        ),
        environment=(*HOST, ("XENVM_SOCKET_DIR", "Where the UNIX socket is, instead of `/var/run/xenvm`.")),
        status=(
            ("0", "Ended as asked."),
            ("1", "Another monitor has this virtual machine."),
            ("2", "A fatal error: it is in the log."),
            ("3", "Wrong words or file."),
        ),
        see=("xenvm-cmd(1)", "xenvm-zygote(8)", "xenmgr(8)"),
    ),
    Page(
        "xenvm-zygote", 8, "starts monitors quickly",
        ("`xenvm-zygote` [`--no-merge`]",),
        """
        Loads once what every xenvm(8) needs, and forks the monitors that xenmgr(8) asks for on
        `/var/run/xenvm/zygote`: each shares what is loaded. The monitors live on when it ends.

        A monitor copies some 9 MiB of what it shares. As they are nearly the same in all monitors, they are offered to
        the kernel's same-page merging, KSM, which is switched on if it is as the kernel boots: `/sys/kernel/mm/ksm/run` is
        0. Any other value stays, and so does the pace; it is never switched off. A few passes of the kernel later a
        monitor at rest has 1 to 2 MiB of its own. One line in the log says whether it is on, or why not.

        The kernel compares only pages that were offered. No other process's memory is, nor a guest's, nor that of device
        models and whatever else monitors start.
        """,
        (
            ("--no-merge", "Leave the host's setting alone. Pages are offered all the same."),
            ("-h, --help", "Print a summary."),
        ),
        files=(("/sys/kernel/mm/ksm", "Whether and how fast the kernel merges what is offered."),),
        environment=HOST,
        see=("xenvm(8)",),
    ),
    Page(
        "xenvm-cmd", 1, "send a task to the monitor of a virtual machine",
        ("`xenvm-cmd` [options] UUID COMMAND [KEY=VALUE…]",),
        """
        Asks the monitor, xenvm(8), of a running or prepared virtual machine for something, and prints the answer.
        The words of the documentation (`shutdown`, `restart`, `status`, `checkpoint`, …) are taken as well.

            xenvm-cmd 2f5a7b0c-… disk_list
            xenvm-cmd 2f5a7b0c-… suspend file=/storage/desktop.save
        """,
        of_parser(cmd.parser()),
        sections={"Commands": "Tasks of a monitor: " + ", ".join(f"`{task.name}`" for task in TASKS) + "."},
        environment=(BUS, ("XENVMLIB_DBUS_SESSION", "`true` for the session bus.")),
        status=(("0", "Done."), ("1", "Refused, or wrong words.")),
        see=("xenvm(8)", "xec-vm(1)"),
    ),
    Page(
        "xenops", 8, "one operation on one domain, by hand",
        ("`xenops` COMMAND [options]", "`xenops` `help` [COMMAND…]"),
        """
        Speaks to Xen itself, without a monitor: for repair and for tests. It knows nothing of virtual machines, and
        does what it is told; use xec-vm(1) for virtual machines that xenmgr(8) manages.
        """,
        (("-debug", "Say on standard error what is done."), ("-h, --help", "Print the names of the commands.")),
        tuple((command.usage, command.why_not or command.summary, ()) for command in COMMANDS),
        environment=(XEN, STORE),
        status=(("0", "Done."), ("1", "Help, wrong words, or it did not work.")),
        see=("xenvm(8)",),
    ),
    Page(
        "rpc-proxy", 8, "lets guests talk to the bus, message by message, by rule",
        ("`rpc-proxy` [options]",),
        """
        Listens for guests on a channel, names each by what the transport knows of it, and passes on those messages
        to the bus that the rules allow; the others are answered with AccessDenied and logged. A host runs several:
        one for guests (`-i v4v:5555 -s`), one for guests that serve a name (`-i v4v:5556 -n NAME`), one for pages
        of the user interface (`-i v4v:8080 --json-in --websockets-in --auto-auth`).
        """,
        of_parser(rpcproxy.parser()),
        sections={
            "Channels": """
            `v4v:PORT`, `argo:PORT`: from other domains, over vchans on stock Xen. `v4v-domid:DOMID:PORT`,
            `v4v-uuid:UUID:PORT`: of one of them. `unix:PATH`, `tcp:PORT`, `tcp:ADDRESS:PORT`, `fd:N`,
            `serial:PATH`: of this domain; `tcp:PORT` listens on loopback alone.
            """,
            "Limits": "Of one domain, however many connections it has, with their defaults: "
            + ", ".join(f"`{one.name.replace('_', '-')}={one.default}`" for one in fields(Limits)) + ".",
            "Priority": """
            What guests want comes after dom0's own work: an instance whose clients are other domains (`v4v`, or
            `-d` with another than 0) sets its niceness to 19, unless it was started with one, for example by
            `Nice=5` of a systemd unit or `nice -n -1`. While dom0 has a processor to spare that changes nothing.
            """,
            "Signals": "SIGHUP reads the rules again.",
        },
        files=(("/etc/rpc-proxy.rules", "The rules; rules/README.md tells their grammar."),),
        environment=HOST,
        status=(("0", "Ended as asked."), ("1", "It could not start."), ("2", "Wrong words.")),
        see=("rpc-proxy-rules(1)", "openxt-uid(8)"),
    ),
    Page(
        "rpc-proxy-rules", 1, "questions about the rules of rpc-proxy",
        ("`rpc-proxy-rules` [`--json`] COMMAND [options]",),
        """
        Says why a message may pass, what becomes of recorded messages under other rules, which rules never decide,
        and which would be enough.

            rpc-proxy-rules explain --destination com.citrix.xenclient.db --member read
            rpc-proxy-rules replay /var/log/rpc-proxy.audit --against new.rules
        """,
        of_parser(rules_cmd.parser(Path("/etc/rpc-proxy.rules"))),
        tuple(commands_of(rules_cmd.parser(Path("/etc/rpc-proxy.rules")))),
        environment=(BUS, ROOT),
        status=(("0", "Allowed; all is well."), ("1", "Denied; something is not well."), ("2", "Wrong words.")),
        see=("rpc-proxy(8)",),
    ),
    Page(
        "xec", 1, "call methods, get and set properties, watch signals of any service on the bus",
        (
            "`xec` [options] METHOD [ARGUMENT…]", "`xec` [options] `get` PROP", "`xec` [options] `set` PROP VALUE",
            "`xec` [options] `getall`", "`xec` [options] `watch` [SIGNAL]", "`xec` [options]",
        ),
        """
        Calls a method of an object on the system bus and prints what it answers, gets or sets a property, prints all
        of them, or prints signals as they come. Without any of these it prints what the object offers. Interface and
        types are found by introspection. Dashes in METHOD stand for underscores.

            xec list-vms
            xec -o /host get free-mem
            xec -s com.citrix.xenclient.db read /xenmgr/vm-stop-deadline
            xec watch vm_state_changed
        """,
        of_options(grammar.OPTIONS),
        sections={
            "Arguments": """
            Strings and object paths are the word itself. Numbers are decimal. Booleans are `true`, `false`, `1` or `0`.
            Arrays are `[1, 2]`, dictionaries `{"key": "value"}`, structures `["name", 3]`; strings in them are quoted
            with `"` or `'`, and `\\` escapes. A variant is `TYPE:VALUE`, or guessed.
            """,
            "Completion": """
            Completes services, objects, methods, properties and names of virtual machines as they are now:

                source <(xec --completion bash)
            """,
        },
        environment=(BUS, ("DBUS_SESSION_BUS_ADDRESS", "Where the session bus is, for `--session`."), ROOT),
        status=TOOL_STATUS,
        see=("xec-vm(1)", "xenmgr(8)"),
        also=("xec-python",),
    ),
    Page(
        "xec-vm", 1, "xec for one virtual machine",
        ("`xec-vm`", "`xec-vm` SELECTOR [options] WORD…"),
        """
        Prints a table of the virtual machines; or does what xec(1) does for one of them, its disk or its network card,
        which is named by `-n`, `-u`, `-d` or `-o`.

            xec-vm -n desktop --wait start
            xec-vm -n desktop set memory 2048
            xec-vm -n desktop -k 0 get phys-path
            xec-vm -n desktop add-pt-rule-bdf 0000:00:19.0
        """,
        of_options(xec_vm.VM_OPTIONS),
        environment=(BUS,),
        status=TOOL_STATUS,
        see=("xec(1)", "xenmgr(8)"),
    ),
    Page(
        "apptool", 1, "import, replace and remove OVF appliances",
        ("`apptool` OPTION…",),
        """
        Imports an OVF package (a descriptor with its files, or an OVA): its virtual machines, disks, networks and
        product properties. What the manifest says is checked first; whatever fails, nothing is left behind.

            apptool --verify appliance.ova
            apptool --import appliance.ova --network "VM Network=/wired/0/bridged"
            apptool --list
        """,
        [
            (", ".join(f"--{name}" for name in names.split()) + f" {value}".rstrip(), meaning)
            for names, value, meaning in ovf.OPTIONS
        ],
        environment=(BUS, ROOT),
        status=(("0", "Done."), ("1", "It did not work, or wrong words.")),
        see=("xec-vm(1)", "xenmgr(8)"),
    ),
    Page(
        "openxt-uid", 8, "web server of the browser UI",
        ("`openxt-uid` [options]",),
        """
        Serves the pages of the user interface: on v4v port 80 to the virtual machines that its settings name, which is
        that of the user interface unless changed, or with `--address` to browsers of this machine. The pages talk to
        the bus through rpc-proxy(8).

            openxt-uid --address 127.0.0.1 --http-port 8800 --files-dir uivm --websocket-port 8801
            rpc-proxy -i tcp:127.0.0.1:8801 -d 0 --auto-auth --json-in --websockets-in -r rules/ui-local.rules
        """,
        of_parser(uid.parser()),
        files=(
            ("/etc/uid.conf", "Settings, `KEY = VALUE`: `http-port`, `files-dir`, `only-uuids`, `root-file`, `log-http-reqs`."),
            ("/usr/lib/xui", "The pages."),
        ),
        environment=(ROOT, LOG, XEN, STORE),
        see=("rpc-proxy(8)",),
    ),
    Page(
        "xc-rpcgen", 1, "bindings and documentation from D-Bus interface files",
        ("`xc-rpcgen` [options] FILE.xml…",),
        """
        Makes clients and servers in Python, clients in JavaScript (with TypeScript declarations) and C for sd-bus, and
        documentation in Markdown and HTML, from the files in `idl`. Files of that name are overwritten.

            xc-rpcgen --javascript -o uivm/js/clients idl/xenmgr.xml
            xc-rpcgen -c --c -n db idl/db.xml
        """,
        of_parser(rpcgen.parser()),
        status=(("0", "Done."), ("1", "A file cannot be read or written."), ("2", "Wrong words.")),
        see=("xec(1)",),
    ),
    Page(
        "openxt-sim", 1, "simulated Xen host, for tests and demonstrations",
        ("`openxt-sim` `--dir` DIR [options]",),
        """
        Plays Xen and xenstored on two sockets in DIR, with guests that behave. The daemons find it by
        `OPENXT_HYPERVISOR` and `XENSTORED_PATH`. docs/simulator.md tells how faithful it is.
        """,
        of_parser(sim.parser()),
        environment=(ROOT,),
        see=("openxt-house(1)",),
    ),
    Page(
        "openxt-house", 1, "whole host in one folder, with all daemons",
        ("`openxt-house` [options]",),
        """
        Starts a private bus, a simulated Xen host and all daemons in one folder, needs neither root nor Xen, and shows
        what a user types and sees in the life of a virtual machine; or, with `--keep`, stays up and prints the
        environment that xec(1), busctl(1) and others need, and the address of the browser UI. With `--xen`
        it does the same in a real dom0.
        """,
        of_parser(house.parser()),
        see=("xec(1)", "openxt-sim(1)"),
    ),
)  # fmt: skip
