#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# DMA masks that do and do not reach all memory, with a group that is passed through and one that is translated: what the
# device is attached to, the addresses it gets, and the data. SHORT is what becomes of a device that is passed through and
# whose masks are short: "paging", or "identity" where that is asked for, and the kernel bounces.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes memory above 1 TiB"
need_device 1234:11e8 "edu of QEMU"
group=$(group_dir "$BDF")
edu() { # STREAMING COHERENT [OPTION]: loads the driver
	log_mark
	insmod /lib/modules/edu_dma.ko streaming="$1" coherent="$2" ${3:+"$3"}
}
high() { log_has "edu_dma $BDF: streaming .* of 0x1[0-9a-f]\{10\} "; }
for type in identity DMA identity; do
	check "type $type" set_type "$group" $type
	# Streaming and coherent bits, whether they reach all memory, options.
	while read -r s c reach option; do
		want=paging
		case "$type $reach" in "identity yes") want=identity ;; "identity no") want=$SHORT ;; esac
		edu "$s" "$c" "$option"
		check "$type, masks $s and $c $option: the data are right" log_has "data by masks of $s and $c bits: 0"
		check "$type, masks $s and $c $option: memory is above 1 TiB" high
		[ "$type $SHORT" != "identity paging" ] ||
			check "$type, masks $s and $c $option: a mask for all memory is asked for" log_has 'required mask 0x[0-9a-f]\{11\}'
		eq "$type, masks $s and $c $option: what it is attached to" "$want" "$(state_of "$BDF")"
		if [ "$type $reach $SHORT" = "identity no paging" ]; then
			check "$type, masks $s and $c $option: the log says why" log_has "$BDF: its group is passed through, but"
		fi
		rmmod edu_dma
		[ "$type" != identity ] || eq "$type, masks $s and $c $option: afterwards it is passed through" identity "$(state_of "$BDF")"
	done <<-END
		64 32 no
		40 40 no
		40 40 no set_both=1
		64 64 yes set_both=1
		64 64 yes
		0 0 no
		32 64 no
	END
done
plan
