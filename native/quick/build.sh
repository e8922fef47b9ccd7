#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# native/quick/build.sh PYTHON FOLDER: the module _openxt_quick for that Python, in FOLDER.
# Needs gcc and Debian's python3-dev and zlib1g-dev.
set -eu
here=$(dirname "$0")
include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
suffix=$("$1" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
module=$2/_openxt_quick$suffix
cc -O2 -Wall -Wextra -Werror -fPIC -shared -I"$include" -o "$module.new" "$here"/*.c -lz
mv "$module.new" "$module"
