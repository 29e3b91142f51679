#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A disk's driver is unbound and bound CYCLES times (10); each time the disk has to come back and to read as before.
# With KSFT_IOMMU_BLOCK_WRITE=1 what it reads is written first.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_disruptive "unbinds a disk's driver"
need_block unbind
CYCLES=${CYCLES:-10}
driver=$(driver_of "$BDF")
disk_fill || fatal "cannot write to $DISK"
i=0 bad=0
while [ $i -lt "$CYCLES" ]; do
	unbind "$BDF"
	bind "$BDF" "$driver"
	wait_until 20 the_disk_of "$BDF" || { bad=$((bad + 1)); break; }
	[ "$(disk_sum)" = "$SUM" ] || bad=$((bad + 1))
	i=$((i + 1))
done
eq "$CYCLES bind/unbind cycles" "$CYCLES" $i
eq "data right after each of them" 0 $bad
plan
