#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The type of a disk's group is switched three times round, without a driver; I/O after each switch. With
# KSFT_IOMMU_BLOCK_WRITE=1 what is read is written first, other data each time.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_disruptive "unbinds a disk's driver"
need_block unbind
driver=$(driver_of "$BDF")
group=$(group_dir "$BDF") || skip_all "$BDF has no group"
for d in "$group"/devices/*; do
	d=${d##*/}
	case $(driver_of "$d") in '' | pcieport) ;; *) [ "$d" = "$BDF" ] || skip_all "$d, which has a driver, is in the group of $BDF" ;; esac
done
disk_fill || fatal "cannot write to $DISK"
for round in 1 2 3; do
	for type in identity DMA DMA-FQ; do
		unbind "$BDF"
		check "round $round: type $type accepted" set_type "$group" $type
		eq "round $round: type is $type" "$type" "$(cat "$group/type")"
		bind "$BDF" "$driver"
		wait_until 20 the_disk_of "$BDF" || fatal "no disk with type $type"
		[ -z "$WRITE" ] || disk_fill || fatal "cannot write to $DISK"
		eq "round $round: I/O with $type" "$SUM" "$(disk_sum)"
	done
done
plan
