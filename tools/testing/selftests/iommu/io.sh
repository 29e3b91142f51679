#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fio write and verify (crc32c) on the disks, and a checksummed transfer both ways over e1000e and
# virtio-net. What is sent arrives in the host's file one after the other.
verify() { # DISK MiB DEPTH
	wait_for "/dev/$1" 20 || { fail "$1 is there"; return; }
	check "$1: $2 MiB written and verified" fio --name=v --filename="/dev/$1" --rw=randwrite --bs=64k --size="$2m" \
		--direct=1 --ioengine=libaio --iodepth="$3" --verify=crc32c --verify_fatal=1 --thread
}
verify nvme0n1 "$BIG" 32
for d in sda sdb vda; do verify $d 16 8; done
for id in 8086:10d3 1af4:1041; do
	nic=$(nic_of "$(bdf_of $id)")
	check "network $id: link" net_up "$nic"
	serve_get /tmp/got
	eq "network $id: download" "$SUM" "$(sha256sum </tmp/got | cut -d' ' -f1)"
	check "network $id: upload" sink_put /tmp/got
	# Both cards are in the same network.
	ip addr flush dev "$nic"
	ip link set "$nic" down
done
plan
