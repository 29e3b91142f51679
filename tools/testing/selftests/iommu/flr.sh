#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A function is reset under its driver (sysfs "reset"): KSFT_IOMMU_DEVICE, or the disk of KSFT_IOMMU_BLOCK, which reads the
# same before and after. It stays translated as it was, and the unit reports no fault of it.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
need_disruptive "resets a function"
disk=
if [ "${KSFT_IOMMU_DEVICE:-}" ]; then
	BDF=$KSFT_IOMMU_DEVICE
	[ -d "$PCI/$BDF" ] || skip_all "no device $BDF"
	for d in $(disks_of "$BDF"); do
		why=$(in_use "$d")
		[ -z "$why" ] || skip_all "$d behind $BDF is left alone: $why"
	done
else
	need_block unbind
	disk=1
fi
[ -w "$PCI/$BDF/reset" ] || skip_all "$BDF cannot be reset"
state=$(state_of "$BDF")
[ "$state" ] || skip_all "$BDF is not behind a unit of ours"
reset() { echo 1 >"$PCI/$BDF/reset"; }
log_mark
[ -z "$disk" ] || SUM=$(disk_sum)
for i in 1 2 3; do
	check "reset $i" reset
	eq "reset $i: it is attached as before" "$state" "$(state_of "$BDF")"
	[ -z "$disk" ] || wait_until 30 the_disk_of "$BDF" || fatal "no disk after a reset"
	[ -z "$disk" ] || eq "reset $i: it reads the same" "$SUM" "$(disk_sum)"
done
check_not "no fault of it" log_has "$BDF.*blocked"
plan
