#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Where the C driver owns the units, ours is refused and says what to do; I/O goes on (on the disks of KSFT_IOMMU_BLOCK).
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
[ ! -d /sys/module/rust_iommu ] || skip_all "rust_iommu is loaded"
need_disruptive "tries to load the module"
need_ko
any /sys/class/iommu/* || skip_all "no driver owns the units: the module would load"
log_mark
err=$(insmod "$KO" 2>&1)
check_not "it does not load" [ $? = 0 ]
case $err in *[Bb]usy*) ok "because the unit is busy" ;; *) fail "because the unit is busy: $err" ;; esac
check "the log says how to boot" log_has 'the C driver owns the IOMMU; boot with [a-z]*_iommu=off'
if [ "${KSFT_IOMMU_BLOCK:-}" ]; then
	need_block
	check "I/O of the C driver goes on" dd if="$DISK" of=/dev/null bs=64k count=50 iflag=direct
else
	skip "I/O of the C driver goes on" "no disk is named"
fi
plan
