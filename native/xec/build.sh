#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# native/xec/build.sh FOLDER: the quick xec, which runs FOLDER/xec-python for all but plain calls.
# Needs gcc and Debian's libdbus-1-dev, libexpat1-dev and pkg-config.
set -eu
# shellcheck disable=SC2046  # a list of words
cc -O2 -Wall -Wextra -Werror -o "$1/xec.new" "$(dirname "$0")/xec.c" $(pkg-config --cflags --libs dbus-1) -lexpat
mv "$1/xec.new" "$1/xec"
