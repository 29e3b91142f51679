# SPDX-License-Identifier: GPL-2.0
# QEMU's AMD-Vi unit by its registers, for tests in machines of scripts/vm: it stops taking commands; it is left enabled
# with a device table that passes all, a command ring, an event log.
# shellcheck shell=sh
UNIT=0xfed80000
# shellcheck disable=SC2086 # there may be no value
reg() { devmem $((UNIT + $1)) 64 ${2:-}; }
table_base() { reg 0x00; }
enabled() { echo $(($(reg 0x18) & 1)); }
# CmdBufEn off.
stop_commands() { reg 0x18 $(($(reg 0x18) & ~0x1000)); }
leave_enabled() {
	reg 0x00 0x200001ff
	reg 0x08 0x0800000020300000
	reg 0x10 0x0800000020400000
	# Enabled, with event log and commands.
	reg 0x18 0x1005
	dd if="$DISK" of=/dev/null bs=64k count=50 iflag=direct 2>/dev/null
}
