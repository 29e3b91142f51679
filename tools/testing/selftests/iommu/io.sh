#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fio write and verify (crc32c) on the disks, and a checksummed transfer both ways over e1000e.
verify() { # DISK MiB DEPTH
	wait_for "/dev/$1" 20 || { fail "$1 is there"; return; }
	check "$1: $2 MiB written and verified" fio --name=v --filename="/dev/$1" --rw=randwrite --bs=64k --size="$2m" \
		--direct=1 --ioengine=libaio --iodepth="$3" --verify=crc32c --verify_fatal=1 --thread
}
verify nvme0n1 "$BIG" 32
for d in sda sdb vda; do verify $d 16 8; done
check "e1000e: link" net_up "$(nic_of "$(bdf_of e1000e)")"
serve_get /tmp/got
eq "e1000e: download" "$SUM" "$(sha256sum </tmp/got | cut -d' ' -f1)"
check "e1000e: upload" sink_put /tmp/got
plan
