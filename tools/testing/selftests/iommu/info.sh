#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the driver says of itself: units in sysfs and debugfs, parameters, devices, faults; files that are read cannot be
# written.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
P=/sys/module/rust_iommu/parameters
[ -d $P ] || skip_all "no parameters: another driver"
one_of() { # NAME VALUES...
	ks_v=$(cat "$P/$1" 2>/dev/null) || { fail "parameter $1 is there" && return; }
	case " $2 " in *" ${ks_v:-(none)} "*) ok "parameter $1 has a value it can have" ;; *) fail "parameter $1 is '$ks_v', one of: $2" ;; esac
}
one_of unit "auto amd-vi vt-d smmuv3"
one_of dma "auto rust core"
one_of isolation "default hardened"
one_of acs "auto on keep"
one_of short_masks "translate bounce"
check "parameter isolate is there" cat $P/isolate
eq "no parameter can be written" "" "$(find $P -type f -perm /222)"
for f in units devices groups groups.json domains faults; do
	check "$f can be read" cat $DEBUG/$f
	check "$f says something" test -n "$(head -c 1 $DEBUG/$f)"
done
units=$(grep -c '^[a-z-]*[0-9][0-9]*:' $DEBUG/units)
check "there is a unit" [ "$units" -gt 0 ]
eq "sysfs has as many units" "$units" "$(ls /sys/class/iommu | wc -l)"
check_not "no unit is broken" grep -q broken $DEBUG/units
eq "each unit counts faults" "$units" "$(grep -c '^[a-z-]*[0-9][0-9]*: [0-9]* faults' $DEBUG/faults)"
check "devices have lines" grep -q '^[0-9a-f]*:[0-9a-f]*:[0-9a-f]*\.[0-7] group ' $DEBUG/devices
eq "each device has one" "" "$(cut -d' ' -f1 $DEBUG/devices | sort | uniq -d)"
plan
