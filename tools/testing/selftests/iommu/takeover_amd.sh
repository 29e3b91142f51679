# SPDX-License-Identifier: GPL-2.0
# For takeover.sh: an AMD-Vi unit with a device table that passes all, a command ring, an event log.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
UNIT=0xfed80000 NAME=ivhd0
reg() { devmem $((UNIT + $1)) 64 $2; }
table_base() { reg 0x00; }
enabled() { echo $(($(reg 0x18) & 1)); }
leave_enabled() {
	reg 0x00 0x200001ff
	reg 0x08 0x0800000020300000
	reg 0x10 0x0800000020400000
	# Enabled, with event log and commands.
	reg 0x18 0x1005
	dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct 2>/dev/null
}
