#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The unit stops taking commands under I/O: I/O goes on with addresses that were never used, nothing hangs, one line says so.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "breaks the unit by its registers"
need_block unbind
need_program devmem
. "./unit_$VM_UNIT.sh"
read_disk() { dd if="$DISK" of=/dev/null bs=64k count=10 iflag=direct; }
check "control: I/O" read_disk
stop_commands
start=$(date +%s)
check "I/O goes on" timeout $((60 * SCALE)) dd if="$DISK" of=/dev/null bs=64k count=10 iflag=direct
took=$(($(date +%s) - start))
if [ $took -lt $((40 * SCALE)) ]; then ok "within bounds"; else fail "within bounds: $took s"; fi
eq "one line says that commands are not completed" 1 "$(dmesg | grep -c 'does not complete commands')"
check "debugfs says so" grep -q "commands: broken" $DEBUG/units
check "the addresses are kept back" log_has "could not be invalidated are not used again"
check "the driver can be unbound" unbind "$BDF"
check "the unit can be released" release_units
check "and the module removed" rmmod rust_iommu
bind "$BDF" nvme
check "the disk is back" wait_for "$DISK" 60
check "I/O without the unit" read_disk
plan
