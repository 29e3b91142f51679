#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Disk I/O of all sizes on a device that shares its group with the fake one; then nothing is mapped.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes a fake device that looks on"
need_block unbind
for bs in 512 4k 12k 64k 512k; do
	dd if="$DISK" of=/dev/null bs=$bs count=40 iflag=direct 2>/dev/null &
	dd if=/dev/zero of="$DISK" bs=$bs count=40 oflag=direct 2>/dev/null || fatal "cannot write by $bs"
	wait
done
ok "I/O"
unbind "$BDF"
[ ! -e $DEBUG ] || sed -n "s/^$BDF .*maps \([0-9]*\) unmaps \([0-9]*\).*/calls: maps \1 unmaps \2/p" $DEBUG/devices
ok "unbound"
# What is seen after this is the unit being switched off.
wait_host look
plan
