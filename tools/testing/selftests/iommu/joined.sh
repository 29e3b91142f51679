#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A device that comes later and joins two groups: the core cannot merge them, so user space gets none of the three.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes devices and a table made for it"
need_ko
need_program vfio_claim
dev() { echo "$PCI/0000:$1"; }
claim() { vfio_claim -s "0000:$1" true; }
echo 1 >"$(dev 00:09.0)/remove"
insmod "$KO" || fatal "no module"
for d in 00:08.0 00:0a.0; do bind "0000:$d" vfio-pci; done
check_not "control: without the one in the middle they are apart" [ "$(group_of 0000:00:08.0)" = "$(group_of 0000:00:0a.0)" ]
check "control: user space gets the one" claim 00:08.0
check "control: user space gets the other" claim 00:0a.0
echo 1 >/sys/bus/pci/rescan
check "a line says so" log_has "0000:00:09.0: joins groups that exist apart already"
check "debugfs has all in one group" grep -q '"name": "pci-0000:00:08.0", "members": .*00:09.0.*00:0a.0' $DEBUG/groups.json
bind 0000:00:09.0 vfio-pci
for d in 00:08.0 00:09.0 00:0a.0; do check_not "user space does not get $d" claim $d; done
check "a line says why" log_has "0000:00:0a.0: not for user space"
unbind 0000:00:09.0
echo 1 >"$(dev 00:09.0)/remove"
check "without it user space gets the one again" claim 00:08.0
check "and the other" claim 00:0a.0
plan
