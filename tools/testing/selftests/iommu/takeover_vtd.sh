# SPDX-License-Identifier: GPL-2.0
# A unit that firmware or an earlier kernel left enabled, with tables and a queue of its own, is taken over under I/O.
# shellcheck shell=sh
# The kernel leaves the memory at 512 MiB alone: a root table at its start, a context table a page on,
# which passes all of bus 0 and, behind it, one for each bus of the disk.
UNIT=0xfed90000
reg() { devmem $((UNIT + $1)) "$2" $3; }
command() { reg 0x18 32 "$1"; }
KO=$(find /lib/modules -name rust_iommu.ko)
load nvme
wait_for /dev/nvme0n1 20 || fatal "no disk"
nvme=$(bdf_of nvme)
bus=$((0x$(echo "$nvme" | cut -d: -f2)))
table() { # BUS PAGE: a context table that passes everything: TT 10, 48 bits, domain 1
	devmem $((0x20000000 + $1 * 16)) 64 $((0x20000000 + $2 * 4096 + 1))
	i=0
	while [ $i -lt 256 ]; do
		devmem $((0x20000000 + $2 * 4096 + i * 16)) 64 9
		devmem $((0x20000000 + $2 * 4096 + i * 16 + 8)) 64 0x102
		i=$((i + 1))
	done
}
table 0 1
table $bus 2
reg 0x20 64 0x20000000
command 0x40000000
reg 0x88 64 0
reg 0x90 64 0x20010000
command 0x04000000
# A queue that can be taken over ended with a wait.
devmem 0x20010000 64 0x100000025
devmem 0x20010008 64 0x20020000
reg 0x88 64 0x10
command 0x84000000
eq "control: it is enabled, with a queue" $((0xc4000000)) $((0xc4000000 & $(reg 0x1c 32)))
check "control: I/O through the unit as it was left" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
dd if=/dev/nvme0n1 of=/dev/null bs=4k iflag=direct 2>/dev/null &
io=$!
check "it loads" insmod "$KO"
check "it says what it does" sh -c "dmesg | grep -q 'vt-d0: was left enabled; taking over'"
eq "its own root table is in force" no "$([ $(($(reg 0x20 64) >> 12)) = $((0x20000)) ] && echo yes || echo no)"
kill $io
check "I/O under way goes on" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
unbind "$nvme"
bind "$nvme" nvme
wait_for /dev/nvme0n1 20
check "after a rebind the disk is translated" grep -q "^$nvme .*paging" /sys/kernel/debug/rust_iommu/devices
check "I/O translated" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
eq "an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$(bdf_of 1b36:0005)" gpa auto 4)"
check "and logged" wait_until 5 sh -c "dmesg | grep -q 'vt-d0: .*blocked'"
unbind "$nvme"
check "release" sh -c 'echo 1 >/sys/kernel/debug/rust_iommu/release'
eq "it is disabled then" 0 $(($(reg 0x1c 32) & 0x80000000))
plan
