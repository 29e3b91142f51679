#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Devices that firmware gives one requester ID, ALIAS: MEMBERS share a group, a domain and its entry, whoever comes and goes.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes devices and a table made for it"
need_program iommu_testdev devmem
fire() { iommu_testdev -q "0000:$1" gpa auto 64; }
sysdev() { echo "$PCI/0000:$1"; }
# The domain ID in the device-table entry of a requester ID.
entry_domain() {
	base=$(($(devmem 0xfed80000 64) & 0xffffffffff000))
	bus=${1%%:*} rest=${1#*:}
	rid=$(((0x$bus << 8) | (0x${rest%.*} << 3) | ${rest#*.}))
	echo $(($(devmem $((base + rid * 32 + 8)) 64) & 0xffff))
}
first=${MEMBERS%% *}
one_of() { for m in $MEMBERS; do "$@" "$m"; done | sort -u | wc -l; }
group_id() { group_of "0000:$1"; }
eq "one group" 1 "$(one_of group_id)"
eq "named after the lowest requester ID" "pci-0000:$LOWEST" "$(cat "$(group_dir "0000:$first")/name")"
check "debugfs says why" grep -q "because firmware says that 0000:$first issues requests as 0000:" $DEBUG/groups
eq "one domain in all entries" 1 "$( (for m in $MEMBERS $ALIAS; do entry_domain "$m"; done) | sort -u | wc -l)"
group=$(group_id "$first")
set_type "$(group_dir "0000:$first")" identity
for gone in $MEMBERS; do
	echo 1 >"$(sysdev "$gone")/remove"
	for m in $MEMBERS; do
		[ "$m" = "$gone" ] && continue
		eq "$m reaches memory without $gone" ok "$(fire "$m")"
		eq "the entry of $ALIAS stays with $m when $gone leaves" "$(entry_domain "$m")" "$(entry_domain "$ALIAS")"
	done
	echo 1 >/sys/bus/pci/rescan
	eq "$gone comes back into the group" "$group" "$(group_id "$gone")"
	eq "$gone reaches memory again" ok "$(fire "$gone")"
done
for m in $MEMBERS; do echo 1 >"$(sysdev "$m")/remove"; done
echo 1 >/sys/bus/pci/rescan
eq "all gone and back: one group" 1 "$(one_of group_id)"
eq "with the same name" "pci-0000:$LOWEST" "$(cat "$(group_dir "0000:$first")/name")"
plan
