#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Switches the type of nvme's group, unbound, three times round; verified I/O after each switch.
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
wait_for /dev/nvme0n1 20 || fatal "no disk"
b=$(bdf_of nvme)
t=/sys/kernel/iommu_groups/$(group_of "$b")/type
for round in 1 2 3; do
	for type in identity DMA DMA-FQ; do
		unbind "$b"
		check "round $round: type $type accepted" sh -c "echo $type >$t"
		eq "round $round: type is $type" "$type" "$(cat "$t")"
		bind "$b" nvme
		wait_for /dev/nvme0n1 20 || fatal "no disk with type $type"
		head -c 1048576 /dev/urandom >/tmp/data
		dd if=/tmp/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null
		eq "round $round: I/O with $type" "$(sha256sum </tmp/data)" \
			"$(dd if=/dev/nvme0n1 bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)"
	done
done
plan
