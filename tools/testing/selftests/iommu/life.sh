#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The units are released and the module removed, with a driver bound and without; then it is loaded late, under a disk's
# driver. On other machines than those of scripts/vm only where all that is translated can do without its driver.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
need_disruptive "unloads the module"
need_ko
need_block unbind
driver=$(driver_of "$BDF")
# What has to be let go: everything translated with a driver but for bridges. What people or the machine need is not.
bound=
for d in $PCI/*; do
	d=${d##*/}
	[ -e "$PCI/$d/driver" ] && group_of "$d" >/dev/null || continue
	case $(cat "$PCI/$d/class") in
	0x06*) continue ;;
	0x03*) in_test_vm || skip_all "$d is a display with a driver: unbind it first" ;;
	esac
	bound="$bound $d"
	in_test_vm && continue
	! cat "$PCI/$d"/net/*/operstate "$PCI/$d"/*/net/*/operstate 2>/dev/null | grep -q up || skip_all "$d is a network that is up"
	for disk in $(disks_of "$d"); do
		why=$(in_use "$disk")
		[ -z "$why" ] || skip_all "$disk behind $d is translated, and $why"
	done
done
readable() { dd if="$DISK" of=/dev/null bs=64k count=50 iflag=direct; }
rebind() { bind "$BDF" "$driver" && wait_until 20 the_disk_of "$BDF"; }
keep_module
log_mark
check "I/O" readable
check_not "release is refused while a driver is bound" release_units
says() { { echo "$1" >$RELEASE; } 2>&1 | grep -qi "$2"; }
check "which is EBUSY" says 1 "busy"
check "0 is EINVAL" says 0 "Invalid argument"
check "11 is EINVAL" says 11 "Invalid argument"
check "the log names a device" log_has "release: [0-9a-f:.]* has a driver"
check_not "the module stays while devices are translated" rmmod rust_iommu
for d in $bound; do unbind "$d"; done
check "release with nothing bound" release_units
check "a second release is ENODEV" says 1 "No such device"
check "removal" rmmod rust_iommu
check_not "the file goes with the module" test -e $RELEASE
if in_test_vm; then
	# Who writes all the time neither keeps the module nor is still in it when it is gone.
	while :; do release_units; done 2>/dev/null &
	writer=$! i=0
	while [ $i -lt 10 ] && insmod "$KO" && wait_until 20 rmmod rust_iommu; do i=$((i + 1)); done
	kill $writer
	eq "removal under writers" 10 $i
fi
# What the unit still points to, after the last removal, would be the module's freed memory: overwrite all that is free.
in_test_vm && fill_free
check "the disk is back without the module" rebind
check "I/O without the module" readable
log_mark
check "late load" insmod "$KO"
check "the log says what stays untranslated" log_has "$BDF: in use by a driver"
check "I/O goes on under the late load" readable
unbind "$BDF"
check "the disk is back with the module" rebind
eq "after a rebind the device is translated" paging "$(state_of "$BDF")"
check "I/O translated" readable
# For the parameters it had: those that are kept are for a test that ended in the middle.
if in_test_vm; then plan; fi
unbind "$BDF"
check "release again" release_units
check "removal again" rmmod rust_iommu
# shellcheck disable=SC2086 # parameters are words
check "load with the parameters it had" insmod $KS_MODULE
plan
