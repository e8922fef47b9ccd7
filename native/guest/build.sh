#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# native/guest/build.sh FOLDER: the programs for guests, linked statically, so that any x86-64 Linux runs them.
# Needs gcc and Debian's libxen-dev.
set -eu
here=$(dirname "$0")
mkdir -p "$1"
for program in "$here"/*.c; do
    cc -O2 -Wall -Wextra -Werror -static -o "$1/$(basename "$program" .c)" "$program" \
        -lxenvchan -lxenstore -lxengnttab -lxenevtchn -lxencall -lxentoollog -lxentoolcore -lpthread
done
