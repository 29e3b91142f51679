#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Reserved regions: the window of interrupts in each group, and what firmware's tables (RMRR of the DMAR, IVMD of the IVRS)
# want a device to reach, in whole pages. Regions do not overlap.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
G=/sys/kernel/iommu_groups
[ -d /sys/module/rust_iommu ] || skip_all "rust_iommu is not loaded"
[ "$(uname -m)" = x86_64 ] || skip_all "knows the windows of x86 only"
any $G/* || skip_all "no device has a group"
T=/sys/firmware/acpi/tables
n=0 no_msi=0 odd=0 overlap=0
for g in $G/*; do
	n=$((n + 1))
	grep -q '^0x0*fee00000 0x0*feefffff msi' "$g/reserved_regions" || { no_msi=$((no_msi + 1)) && say "group ${g##*/} has no window of interrupts"; }
	last=-1
	while read -r from to kind; do
		# Numbers of the shell are signed; nothing above 2^63 is compared.
		case $from$to in *0x[89a-f]???????????????*) continue ;; esac
		[ $((from & 4095)) = 0 ] && [ $((to & 4095)) = 4095 ] || { odd=$((odd + 1)) && say "group ${g##*/}: $from $to $kind is not of whole pages"; }
		[ $((from)) -gt $((last)) ] || { overlap=$((overlap + 1)) && say "group ${g##*/}: $from $to $kind begins before $last"; }
		last=$to
	done <"$g/reserved_regions"
done
eq "each of the $n groups reserves the window of interrupts" 0 $no_msi
eq "regions are of whole pages" 0 $odd
eq "regions of a group do not overlap" 0 $overlap
# "FIRST LAST BDF" of each memory that firmware wants a device to reach; BDF is "*" for all, "-" if it is behind a bridge.
firmware() {
	[ ! -r $T/DMAR ] || od -An -v -tu1 -w1 $T/DMAR | awk '
		{ b[n++] = $1 + 0 }
		function word(at, len,  v) { v = 0; while (len--) v = v * 256 + b[at + len]; return v }
		END {
			for (at = 48; at + 4 <= n && word(at + 2, 2) >= 4; at += word(at + 2, 2)) {
				if (word(at, 2) != 1) continue
				for (s = at + 24; s + 6 <= at + word(at + 2, 2) && b[s + 1] >= 6; s += b[s + 1])
					if (b[s + 1] == 8)
						printf "%.0f %.0f %04x:%02x:%02x.%x\n", word(at + 8, 8), word(at + 16, 8), word(at + 6, 2), b[s + 5], b[s + 6], b[s + 7]
					else
						printf "%.0f %.0f -\n", word(at + 8, 8), word(at + 16, 8)
			}
		}'
	[ ! -r $T/IVRS ] || od -An -v -tu1 -w1 $T/IVRS | awk '
		{ b[n++] = $1 + 0 }
		function word(at, len,  v) { v = 0; while (len--) v = v * 256 + b[at + len]; return v }
		function bdf(id) { return sprintf("0000:%02x:%02x.%x", int(id / 256), int(id / 8) % 32, id % 8) }
		END {
			for (at = 48; at + 4 <= n && word(at + 2, 2) >= 4; at += word(at + 2, 2)) {
				if (b[at] < 32 || b[at] > 34) continue
				first = word(at + 4, 2); last = b[at] == 34 ? word(at + 6, 2) : first
				start = word(at + 16, 8); end = start + word(at + 24, 8) - 1
				# An exclusion range is not mapped 1:1 but not translated.
				if (b[at] == 32) printf "%.0f %.0f *\n", start, end
				else for (id = first; id <= last; id++) printf "%.0f %.0f %s\n", start, end, bdf(id)
			}
		}'
}
firmware >"$TMP/firmware"
wanted=0 missing=0
while read -r first last bdf; do
	for d in $PCI/*; do
		[ "$bdf" = "*" ] || [ "$bdf" = "${d##*/}" ] || continue
		[ -e "$d/iommu_group" ] || continue
		wanted=$((wanted + 1)) found=
		while read -r from to kind; do
			case $kind in direct*) ;; *) continue ;; esac
			[ $((from)) -gt "$first" ] || [ $((to)) -lt "$last" ] || found=1
		done <"$d/iommu_group/reserved_regions"
		[ "$found" ] || { missing=$((missing + 1)) && say "${d##*/}: $first to $last is not reserved"; }
	done
done <"$TMP/firmware"
if [ $wanted = 0 ]; then
	skip "what firmware wants devices to reach is reserved" "its tables want none ($(wc -l <"$TMP/firmware") entries, none for a device that is here)"
else
	eq "what firmware wants devices to reach is reserved ($wanted)" 0 $missing
fi
plan
