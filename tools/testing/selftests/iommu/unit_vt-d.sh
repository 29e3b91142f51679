# SPDX-License-Identifier: GPL-2.0
# QEMU's VT-d unit by its registers, for tests in machines of scripts/vm: it stops taking commands; it is left enabled
# with a root table at 512 MiB, a context table a page on, which passes all of bus 0 and, behind it, one for the bus of
# the disk; and a queue.
# shellcheck shell=sh
UNIT=0xfed90000
# shellcheck disable=SC2086 # there may be no value
reg() { devmem $((UNIT + $1)) "$2" ${3:-}; }
command_is() { reg 0x18 32 "$1"; }
table_base() { reg 0x20 64; }
enabled() { echo $(($(reg 0x1c 32) & 0x80000000)); }
# Translation on, the queue off.
stop_commands() { command_is 0x80000000; }
table() { # BUS PAGE: a context table that passes everything: TT 10, 48 bits, domain 1
	devmem $((0x20000000 + $1 * 16)) 64 $((0x20000000 + $2 * 4096 + 1))
	i=0
	while [ $i -lt 256 ]; do
		devmem $((0x20000000 + $2 * 4096 + i * 16)) 64 9
		devmem $((0x20000000 + $2 * 4096 + i * 16 + 8)) 64 0x102
		i=$((i + 1))
	done
}
leave_enabled() {
	bus=$((0x$(echo "$BDF" | cut -d: -f2)))
	table 0 1
	table $bus 2
	reg 0x20 64 0x20000000
	command_is 0x40000000
	reg 0x88 64 0
	reg 0x90 64 0x20010000
	command_is 0x04000000
	# A queue that can be taken over ended with a wait.
	devmem 0x20010000 64 0x100000025
	devmem 0x20010008 64 0x20020000
	reg 0x88 64 0x10
	command_is 0x84000000
	eq "control: it is enabled, with a queue" $((0xc4000000)) $((0xc4000000 & $(reg 0x1c 32)))
}
