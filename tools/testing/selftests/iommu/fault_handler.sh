#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A driver's fault handler (iommu_set_fault_handler) hears of the faults in its domain; what it has dealt with has no line.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "makes a device fault on purpose"
need_device 1b36:0005 "iommu-testdev of QEMU"
need_program iommu_testdev
ko=modules/fault_handler.ko
[ -e $ko ] || ko=/lib/modules/fault_handler.ko
[ -e $ko ] || skip_all "no fault_handler.ko: build the tests with the kernel's headers in KDIR"
unit="rust_iommu: [a-z-]*0: "
fire() { # ADDRESS COUNT
	eq "a DMA to $1 is blocked" "write blocked" "$(iommu_testdev -q "$BDF" "$1" auto "$2")"
}
insmod $ko && [ "$(driver_of "$BDF")" = fault_handler ] || fatal "no driver"
quiet_log
eq "the driver's domain is attached" paging "$(state_of "$BDF")"
log_mark
fire 0x6db6d000 4
check "the fault has a line" wait_until 5 log_has "$unit.*blocked"
# The emulated AMD unit does not say in its event who asked.
if [ "$VM_UNIT" != amd-vi ]; then
	check "the handler is told the address and that it was a write" wait_until 5 log_has "fault handler: iova 0x6db6d000 flags 1\$"
	echo 1 >/sys/module/fault_handler/parameters/handled
	log_mark
	fire 0x7db6d000 4
	check "the handler is told of the next" wait_until 5 log_has "fault handler: iova 0x7db6d000 flags 1\$"
	check_not "which it has dealt with, so it has no line" log_has "$unit.*blocked"
fi
rmmod fault_handler
log_mark
fire 0x6db6d000 4
check "without the driver it has a line" wait_until 5 log_has "$unit.*blocked"
check_not "and no handler" log_has "fault handler"
plan
