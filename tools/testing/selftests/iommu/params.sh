#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Wrong values of parameters are refused, with the list of right ones in the log. Nothing is loaded, if that is right.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
[ ! -d /sys/module/rust_iommu ] || skip_all "rust_iommu is loaded"
need_disruptive "tries to load the module"
need_ko
for bad in unit=foo dma=foo acs=foo isolation=foo short_masks=foo; do
	log_mark
	check_not "$bad is refused" insmod "$KO" $bad
	check "$bad: the log has the list" log_has "$bad: unknown value; one of"
done
log_mark
check_not "a wrong item of isolate is refused" insmod "$KO" isolate=01:00.0,foo
check "by its name" log_has "isolate=01:00.0,foo: 'foo' is neither an address"
check_not "nothing is loaded" test -d /sys/module/rust_iommu
plan
