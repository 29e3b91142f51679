#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Binds and unbinds nvme CYCLES times; each time the disk has to come back and to read what was written.
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
wait_for /dev/nvme0n1 20 || fatal "no disk"
b=$(bdf_of nvme)
head -c 1048576 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null || fatal "cannot write"
want=$(sha256sum </tmp/data)
i=0 bad=0
while [ $i -lt "$CYCLES" ]; do
	unbind "$b"
	bind "$b" nvme
	wait_for /dev/nvme0n1 20 || { bad=$((bad + 1)); break; }
	got=$(dd if=/dev/nvme0n1 bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)
	[ "$got" = "$want" ] || bad=$((bad + 1))
	i=$((i + 1))
done
eq "$CYCLES bind/unbind cycles" "$CYCLES" $i
eq "data right after each of them" 0 $bad
plan
