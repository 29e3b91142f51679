#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Disks read the same by all sizes of requests, and with KSFT_IOMMU_BLOCK_WRITE=1 what is written to them (by fio, if there
# is one: BIG MiB to the first, checked by crc32c). In a machine of scripts/vm network cards transfer data both ways; what
# is sent arrives in the host's file one after the other.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_block
sum() { dd if="$1" bs="$2" count=$(($3 / ${2%k})) iflag=direct 2>/dev/null | sha256sum; }
# Reads 8 MiB by the page cache and by requests of its own.
reads() {
	want=$(dd if="$1" bs=64k count=128 2>/dev/null | sha256sum)
	for bs in 4k 64k 512k; do
		eq "$1: 8 MiB read by $bs" "$want" "$(sum "$1" $bs 8192)"
	done
}
verify() { # DISK MiB DEPTH
	wrote "$1"
	if command -v fio >/dev/null; then
		check "$1: $2 MiB written and verified" fio --name=v --filename="$1" --rw=randwrite --bs=64k --size="$2m" \
			--direct=1 --ioengine=libaio --iodepth="$3" --verify=crc32c --verify_fatal=1 --thread
	else
		dd if=/dev/urandom of="$TMP/data" bs=1M count=8 2>/dev/null
		check "$1: 8 MiB written" dd if="$TMP/data" of="$1" bs=64k oflag=direct conv=notrunc
		eq "$1: and read back" "$(sha256sum <"$TMP/data")" "$(sum "$1" 64k 8192)"
	fi
}
in_test_vm || BIG=$WRITE_MIB
size=$BIG depth=32
for d in $DISKS; do
	if [ "$WRITE" ]; then verify "$d" "$size" $depth; else reads "$d"; fi
	size=$WRITE_MIB depth=8
done
in_test_vm || plan
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
