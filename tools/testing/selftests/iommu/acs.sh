#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# ACS that nobody has switched on is switched on before groups are made, and off again with the unit.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "switches ACS off behind the kernel's back"
need_ko
need_block unbind
cfg=$PCI/0000:00:10.0/config
word() { od -An -v -tu2 -j "$1" -N 2 $cfg | tr -d ' '; }
# The ACS capability has number 13.
at=256
while [ $at != 0 ] && [ "$(word $at)" != 13 ]; do at=$(($(word $((at + 2))) >> 4)); done
[ $at != 0 ] || fatal "the root port has no ACS"
printf '\0\0' | dd of=$cfg bs=1 seek=$((at + 6)) count=2 conv=notrunc 2>/dev/null
eq "control: it is off" 0 "$(word $((at + 6)))"
unbind "$BDF"
for d in /sys/bus/pci/drivers/ahci/0000*; do [ -e "$d" ] && unbind "${d##*/}"; done
insmod "$KO" acs=on || fatal "no module"
eq "on: SV, RR, CR, UF" 29 "$(word $((at + 6)))"
check "a line says so" log_has "0000:00:10.0: ACS switched on"
eq "the disk is alone" "pci-$BDF" "$(cat "$(group_dir "$BDF")/name")"
release_units
eq "off again with the unit" 0 "$(word $((at + 6)))"
plan
