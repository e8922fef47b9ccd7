# SPDX-License-Identifier: GPL-2.0-or-later
# Every word sets up what it needs by itself, on a bare Debian 12 with python3 and apt.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

BIN := .venv/bin
# Debian's, for which its packages are, and which is built to be fast; another python3 may come first in PATH
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
RUN_DIR ?= run
KEEP ?=
TESTS ?= tests
BEDS ?= 2
UI_CLIENTS := dbus ctxusb_daemon network_daemon updatemgr vm_disk vm_nic xenmgr xenmgr_host xenmgr_vm xenmgr_vm_devices \
	xenmgr_vm_why xenmgr_v4v

RUN_PACKAGES := python3-venv dbus-daemon dbus-bin libglib2.0-bin systemd procps qemu-utils e2fsprogs xorriso \
	libarchive-tools openssl
NATIVE_PACKAGES := gcc libc6-dev python3-dev zlib1g-dev libxen-dev pkg-config libdbus-1-dev libexpat1-dev
# qemu-utils: create_vhd and apptool make images with qemu-img; apptool makes file systems with mke2fs, unpacks with
# bsdtar (libarchive-tools), verifies with openssl, and writes CD images with xorriso: it is kept, unlike genisoimage
# e2fsprogs and squashfs-tools make the disks that tests measure; qemu-system-common has qemu-storage-daemon, which reads vhd
# gcc, node and tsc compile and run what xc-rpcgen makes; libsystemd-dev is what its C builds on; zsh and fish
# complete xec; chromium shows the UI; python3-dbusmock stands in for daemons that others own
TEST_PACKAGES := iproute2 mount e2fsprogs squashfs-tools qemu-system-common \
	xenstore-utils gcc libc6-dev libsystemd-dev nodejs node-typescript zsh fish chromium \
	qemu-utils python3-dbusmock
BENCH_PACKAGES := gcc libc6-dev libsystemd-dev libdbus-1-dev libexpat1-dev util-linux e2fsprogs pkg-config xdg-dbus-proxy

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/run ## a VM's life on the simulated host; KEEP=1: the host stays up until Ctrl-C
	@exec $(BIN)/openxt-house --dir $(RUN_DIR) $(if $(KEEP),--keep)

run-xen: .venv/run native ## the same on the real Xen hypervisor, in QEMU
	@$(BIN)/python scripts/xenbed/bed run scripts/xenbed/life.sh

test: .venv/check native ## unit, contract, system and browser tests
	@scripts/need $(TEST_PACKAGES)
	@$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

proof: .venv/check native ## the tests of unlimited size (fuzzing, kills, faults) with their full numbers: an hour or more
	@scripts/need $(TEST_PACKAGES)
	@OPENXT_PROOF=1 $(BIN)/pytest -q -s -m "proof and not xen" --timeout 3600 $(TESTS)

xen: .venv/test native ## the tests that need the real hypervisor, in QEMU; BEDS=1: one machine at a time
	@$(MAKE) --no-print-directory xen-fresh
	@$(MAKE) --no-print-directory -j $(BEDS) --keep-going --output-sync=target xen-most xen-scenarios

# Each has a machine of its own, which keeps one processor busy; of two side by side each prints when it is done.
# Linux PVH guests (fresh) meet the emulator's fault far more often where it has not a processor for itself.
xen-most:
	@$(BIN)/python scripts/xenbed/bed test --name most --timeout 1800 -m 'xen and not fresh'

xen-fresh:
	@$(BIN)/python scripts/xenbed/bed test --name fresh -m 'xen and fresh'

xen-scenarios:
	@$(BIN)/python scripts/xenbed/bed test --name scenarios --timeout 1800 tests/system/scenarios

xen-ui: .venv/test native ## the browser UI on the real hypervisor, in QEMU, with Chromium on this machine
	@scripts/need chromium
	@$(BIN)/pytest -q -m xen tests/browser/test_ui_on_xen.py

xen-hvm: .venv/test native ## HVM guests on the real hypervisor, in a QEMU whose clocks go by instructions: slow
	@$(BIN)/python scripts/xenbed/bed test --counted --timeout 2400 tests/xen/test_xen_hvm.py tests/xen/test_xen_hvm_linux.py

check: .venv/check ## lint, types, layers, generated files, manual pages
	@scripts/need groff-base
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy src
	@$(BIN)/pytest -q tests/repo

bench: .venv/run native ## every speed promise against its reference: NAME RATIO FLOOR ok|below
	@scripts/need $(BENCH_PACKAGES)
	@$(BIN)/python bench/run.py

bench-xen: .venv/run native ## the start of a PV VM against `xl create`, on the real hypervisor in QEMU
	@$(BIN)/python scripts/xenbed/bed run --counted --timeout 900 scripts/xenbed/bench.sh

idl: .venv/run ## write src/openxt_api, the clients of the UI, the golden messages, the database schema
	@$(BIN)/xc-rpcgen -o src/openxt_api idl/*.xml
	@$(BIN)/xc-rpcgen --javascript -o uivm/js/clients $(UI_CLIENTS:%=idl/%.xml)
	@scripts/need python3-gi
	@/usr/bin/python3 tests/golden/messages/make.py idl tests/golden/messages
	@$(BIN)/python -m openxt_xenmgr.properties.schema src/openxt_dbd/schema/vm.json

man: .venv/run ## write docs/man, which `man -M docs/man` reads, from the programs' own option tables
	@$(BIN)/python scripts/manual/make.py docs/man

native: .venv/run ## the bindings to Xen's libraries, the quick xec, and the quick parts of the daemons
	@scripts/need $(NATIVE_PACKAGES)
	@$(BIN)/python -c 'import cffi, setuptools' 2>/dev/null || $(BIN)/pip install -q cffi setuptools
	@$(BIN)/python native/xenctrl_cffi/build.py
	@native/xec/build.sh $(BIN)
	@native/quick/build.sh $(BIN)/python src

guest: ## programs for guests, static: build/guest/openxt-v4v
	@scripts/need gcc libc6-dev libxen-dev
	@native/guest/build.sh build/guest
	@ls build/guest/*

clean: ## remove what the other words made, but no caches outside this folder
	rm -rf .venv build run *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache

# One virtual environment; each kind of dependency leaves a mark.
.venv/bin/python:
	@scripts/need $(RUN_PACKAGES)
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -U pip # a newer one writes programs that start faster

.venv/run: pyproject.toml | .venv/bin/python
	@scripts/need $(RUN_PACKAGES)
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/test: .venv/run
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

.venv/check: .venv/test
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[check]'
	@touch $@

.PHONY: help run run-xen test proof xen xen-most xen-fresh xen-scenarios xen-hvm xen-ui check bench bench-xen idl man native guest clean
