# SPDX-License-Identifier: GPL-2.0-or-later
"""What texts of properties may look like.  Pure.

A pattern is held against the whole text, and reads the same in Python and in a JSON schema: `db-check`
uses it too.
"""

from typing import NamedTuple


class Form(NamedTuple):
    """`says` follows the word "expected" in an error."""

    pattern: str
    says: str


_PCI_ADDRESS = r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]"
_NATURAL = r"(0[xX][0-9a-fA-F]+|[0-9]+)"

VM_TYPE = Form(r"[A-Za-z0-9][A-Za-z0-9_-]*", "'svm', or the tag of a service VM: letters, digits, '-', '_'")
GPU = Form(rf"|hdx|{_PCI_ADDRESS}", "nothing, 'hdx' or a PCI address dddd:bb:ss.f")
BOOT_ORDER = Form(r"[acdn]*", "letters of drives: a, c, d, n")
SPAN = Form(rf"|\s*{_NATURAL}\s*-\s*{_NATURAL}\s*", "FIRST-LAST, both included, or nothing")
_LEAF = r"(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})"
_MASK = r" *e[abcd]x *= *[01xsk]{32} *"
_CHANGES = rf" *({_LEAF}(\+{_LEAF})?:{_MASK}(,{_MASK})*)?"
CPUID = Form(rf"{_CHANGES}(;{_CHANGES})*",
             "LEAF[+SUBLEAF]:REG=MASK[,REG=MASK]… with ';' between, masks of 32: 0, 1, x, s, k")  # fmt: skip
_VNC = r"(port=[0-9]{1,5}|keymap=[A-Za-z0-9_-]+|use-port-unused(=(1|y|yes|true|0|n|no|false))?)?"
DISPLAY = Form(rf"|none(:.*)?|(sdl|intel)(:.*)?|vnc(:{_VNC}(,{_VNC})*)?",
               "none, sdl, intel, vnc, or vnc: with port=N, keymap=NAME, use-port-unused")  # fmt: skip
STORE_NODE = Form(r"|[A-Za-z0-9_@-][A-Za-z0-9_@:/-]*[A-Za-z0-9_@:-]|[A-Za-z0-9_@-]",
                  "a node of XenStore, relative to the domain's")  # fmt: skip
USER = Form(r"[^/\s]*", "a user's name without '/' and blanks")
FOLDER = Form(r"/.*", "the full path of a folder")
DISK_PATH = Form(r"[^:\n]*", "a path without ':'")
DISK_DEVICE = Form(r"[A-Za-z0-9]*", "a device's name such as 'xvda'")
MAC = Form(r"|auto|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", "six hex pairs with ':' between, or 'auto'")
NETWORK = Form(r"[^,\s]*", "an object path")
VM_UUID = Form(r"|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a VM's uuid or nothing")
NIC_WORD = Form(r"[^,\n]*", "a name without ','")
PCM = Form(r"[0-9]{2}-[0-9]{2}", "card and device such as '00-03'")
