#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Groups as the core has them in sysfs are those that the driver explains in debugfs; their names are unique; each device of
# a group is translated, or passed through as its group is told, or user space has it.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
[ -r $DEBUG/groups.json ] || skip_all "no groups.json: another version of the module"
G=/sys/kernel/iommu_groups
any $G/* || skip_all "no device has a group"
# "NAME BDF" of each device that has a group.
sed -n 's/^ {"name": "\([^"]*\)", "members": \[\(.*\)\], "reasons".*/\1 \2/p' $DEBUG/groups.json | while read -r name members; do
	echo "$members" | sed 's/}, {/\n/g' | sed -n "s/.*\"id\": \"\([^\"]*\)\".*\"device\": true, \"translated\": true.*/$name \1/p"
done | sort >"$TMP/debugfs"
for d in $G/*/devices/*:*:*.*; do
	[ ! -e "$d" ] || echo "$(cat "${d%/devices/*}/name" 2>/dev/null) ${d##*/}"
done | sort >"$TMP/sysfs"
check "debugfs has groups" test -s "$TMP/debugfs"
check "groups and names in sysfs are those in debugfs" cmp "$TMP/debugfs" "$TMP/sysfs"
cmp -s "$TMP/debugfs" "$TMP/sysfs" || diff "$TMP/debugfs" "$TMP/sysfs" | sed 's/^/# /'
eq "names are unique" "" "$(cat $G/*/name 2>/dev/null | sort | uniq -d)"
wrong=0 n=0
while read -r _ d; do
	n=$((n + 1)) type=$(cat "$(group_dir "$d")/type") why=
	line=$(grep "^$d " $DEBUG/devices)
	case $line in
	'') why="debugfs does not know it" ;;
	*" group $(group_of "$d") "*) ;;
	*) why="it is in group $(group_of "$d")" ;;
	esac
	case $type-$line in
	*paging* | identity-*identity*) ;;
	*blocked*) case $(driver_of "$d") in vfio-pci | *vfio*) ;; *) why="blocked, and not for user space" ;; esac ;;
	*) why="neither translated nor, with type $type, to be passed through" ;;
	esac
	[ -z "$why" ] || { wrong=$((wrong + 1)) && say "$d: $why: $line"; }
done <"$TMP/sysfs"
eq "each of the $n devices of a group is translated, or has a reason" 0 $wrong
# Devices without a group are explained, too.
wrong=0 n=0
for d in $PCI/*; do
	[ -e "$d/iommu_group" ] && continue
	n=$((n + 1))
	grep -q "^ *${d##*/} (not translated)" $DEBUG/groups || { wrong=$((wrong + 1)) && say "${d##*/}: not in groups"; }
done
eq "each of the $n devices without a group is said to have none" 0 $wrong
plan
