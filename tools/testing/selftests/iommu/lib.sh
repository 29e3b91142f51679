# SPDX-License-Identifier: GPL-2.0
# What the tests here share: results in KTAP, what a test may do on this machine, devices, and what is put back at the
# end. A test goes to its own folder, sources this, asks for what it needs (need_...) and ends with "plan".
#
# What a test may do is the user's to say:
#   KSFT_IOMMU_BLOCK="DISK..."  block devices for I/O, which nobody uses. They are only read, unless there is also
#   KSFT_IOMMU_BLOCK_WRITE=1    and they have no partitions, and zeros at both ends; which are put back
#   KSFT_IOMMU_DEVICE=BDF       a PCI function to reset
#   KSFT_IOMMU_DISRUPTIVE=1     unbind drivers, switch group types, load and unload the module, sleep, reset
#
# The functions that end a test are for its own shell, not for a subshell.
# shellcheck shell=sh
PATH=$PWD:$PATH:/usr/sbin:/sbin
DEBUG=/sys/kernel/debug/rust_iommu
PCI=/sys/bus/pci/devices
# Machines of scripts/vm have functions of their own, and say how much slower than others they are.
TEST_VM=/etc/rust_iommu_test_vm
# shellcheck disable=SC1091
[ ! -e $TEST_VM ] || [ ! -e /lib/vm.sh ] || . /lib/vm.sh
SCALE=${VM_SCALE:-1}
# shellcheck disable=SC2034 # for the tests
WRITE=${KSFT_IOMMU_BLOCK_WRITE:-}

# --- results

KS_TESTS=0 KS_FAILED=0 KS_SKIPPED=0 KS_HEADER='' KS_ENDED=''
ks_header() {
	[ "$KS_HEADER" ] || echo "TAP version 13"
	KS_HEADER=1
}
ks_result() { # RESULT TEXT...
	ks_header
	KS_TESTS=$((KS_TESTS + 1))
	ks_r=$1
	shift
	echo "$ks_r $KS_TESTS $*"
}

# say TEXT...: a line for people.
say() {
	ks_header
	echo "# $*"
}

# ok TEXT, fail TEXT, skip TEXT REASON: one result. check TEXT COMMAND... runs the command for it, check_not wants it
# to fail, eq TEXT WANTED GOT compares.
ok() { ks_result ok "$*"; }
fail() {
	KS_FAILED=$((KS_FAILED + 1))
	ks_result "not ok" "$*"
}
skip() {
	KS_SKIPPED=$((KS_SKIPPED + 1))
	ks_result ok "$1 # SKIP $2"
}
ks_show() { sed 's/^/# /' "$TMP/out"; }
check() {
	ks_text=$1
	shift
	if "$@" >"$TMP/out" 2>&1; then ok "$ks_text"; else
		fail "$ks_text"
		ks_show
	fi
}
check_not() {
	ks_text=$1
	shift
	if "$@" >"$TMP/out" 2>&1; then
		fail "$ks_text"
		ks_show
	else ok "$ks_text"; fi
}
eq() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: wanted '$2', got '$3'"; fi; }

# plan: the end of a test. Status 0, 1 if a result was not ok, 4 if all were skipped.
plan() {
	[ -z "${LEAKS:-}" ] || check "no memory leaked" kmemleak_check
	[ $KS_TESTS -gt 0 ] || fatal "nothing was tested"
	echo "1..$KS_TESTS"
	echo "# Totals: pass:$((KS_TESTS - KS_FAILED - KS_SKIPPED)) fail:$KS_FAILED xfail:0 xpass:0 skip:$KS_SKIPPED error:0"
	[ $KS_FAILED = 0 ] || end 1
	[ $KS_SKIPPED -lt $KS_TESTS ] || end 4
	end 0
}

# end STATUS: the end of a test whose results a program has printed.
end() {
	KS_ENDED=1
	exit "$1"
}

# fatal TEXT...: it cannot go on. skip_all REASON: it cannot begin.
fatal() {
	ks_header
	echo "Bail out! $*"
	end 1
}
skip_all() {
	ks_header
	echo "1..0 # SKIP $*"
	end 4
}

# --- what is put back, however the test ends

KS_DRIVERS='' KS_TYPES='' KS_MODULE='' KS_WRITTEN=''
driver_of() { ks_l=$(readlink "$PCI/$1/driver") && echo "${ks_l##*/}"; }

# keep_driver BDF: it gets the driver back that it has now.
keep_driver() {
	case " $KS_DRIVERS" in *" $1="*) return ;; esac
	ks_o=$(cat "$PCI/$1/driver_override" 2>/dev/null)
	[ "$ks_o" != "(null)" ] || ks_o=
	KS_DRIVERS="$KS_DRIVERS $1=$(driver_of "$1")=$ks_o"
}

# keep_module: it is loaded again, with the parameters it has now.
keep_module() {
	KS_MODULE=$KO
	for ks_p in /sys/module/rust_iommu/parameters/*; do
		ks_v=$(cat "$ks_p")
		[ -z "$ks_v" ] || KS_MODULE="$KS_MODULE ${ks_p##*/}=$ks_v"
	done
}

ks_restore() {
	for ks_k in $KS_TYPES; do
		ks_g=${ks_k%=*}
		[ -e "$ks_g/type" ] && [ "$(cat "$ks_g/type")" != "${ks_k##*=}" ] || continue
		for ks_d in "$ks_g"/devices/*; do
			keep_driver "${ks_d##*/}"
			[ ! -e "$ks_d/driver" ] || [ "$(driver_of "${ks_d##*/}")" = pcieport ] || echo "${ks_d##*/}" >"$ks_d/driver/unbind"
		done
		echo "${ks_k##*=}" >"$ks_g/type"
	done
	# shellcheck disable=SC2086 # parameters are words
	[ -z "$KS_MODULE" ] || [ -d /sys/module/rust_iommu ] || insmod $KS_MODULE
	for ks_k in $KS_DRIVERS; do
		ks_b=${ks_k%%=*} ks_k=${ks_k#*=}
		[ -e "$PCI/$ks_b" ] || continue
		echo "${ks_k#*=}" >"$PCI/$ks_b/driver_override"
		ks_d=${ks_k%=*} ks_now=$(driver_of "$ks_b")
		[ "$ks_now" != "$ks_d" ] || continue
		[ -z "$ks_now" ] || echo "$ks_b" >"$PCI/$ks_b/driver/unbind"
		[ -z "$ks_d" ] || echo "$ks_b" >"/sys/bus/pci/drivers/$ks_d/bind"
	done
	for ks_d in $KS_WRITTEN; do
		# A disk whose driver was away may have another name, and another disk its name.
		DISK=${ks_d%=*} ks_b=${ks_d##*=}
		[ "$(pci_of "$DISK")" = "$ks_b" ] || wait_until 20 the_disk_of "$ks_b" || continue
		dd if=/dev/zero of="$DISK" bs=1M count=$WRITE_MIB conv=notrunc,fsync 2>/dev/null
	done
}
ks_exit() {
	ks_status=$?
	trap - EXIT
	# Nobody reads on; what has to be put back is, all the same.
	trap '' INT TERM HUP PIPE
	ks_restore
	rm -rf "$TMP"
	[ "$KS_ENDED" ] || {
		echo "Bail out! ended before its time, with $ks_status"
		ks_status=1
	}
	exit $ks_status
}
TMP=$(mktemp -d) || exit 4
trap ks_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- what a test needs

[ "$(id -u)" = 0 ] || skip_all "needs root"

# A machine that was made for the tests, with the tables, devices and memory that they want, and disks of nobody.
in_test_vm() {
	[ -e $TEST_VM ] && { grep -qs QEMU /sys/class/dmi/id/sys_vendor || grep -qs 'BOCHS *BXPC' /sys/firmware/acpi/tables/FACP; }
}

# need_test_vm WHY
need_test_vm() { in_test_vm || skip_all "only in a machine of scripts/vm: $*"; }

# need_module: the IOMMU is ours. For comparison, the machines of the tests have another driver, or none.
need_module() {
	[ -d /sys/module/rust_iommu ] || { in_test_vm && [ "${VM_DRIVER:-rust}" != rust ]; } || skip_all "rust_iommu is not loaded"
}
need_debugfs() {
	need_module
	[ -r $DEBUG/devices ] || skip_all "no $DEBUG: mount -t debugfs debugfs /sys/kernel/debug"
	cat $DEBUG/devices >/dev/null 2>&1 || skip_all "$DEBUG cannot be read (lockdown?)"
}

# need_disruptive WHAT
need_disruptive() { [ "${KSFT_IOMMU_DISRUPTIVE:-}" = 1 ] || skip_all "$*: only with KSFT_IOMMU_DISRUPTIVE=1"; }

# need_program NAME...
need_program() {
	for ks_p in "$@"; do
		command -v "$ks_p" >/dev/null || skip_all "no program $ks_p (those of this folder: make)"
	done
}

# need_device VENDOR:DEVICE WHAT: BDF is the first one.
need_device() { BDF=$(bdf_of "$1") || skip_all "no $2 ($1)"; }

# need_ko: KO is the module's file.
need_ko() {
	KO=${KSFT_IOMMU_KO:-$(modinfo -n rust_iommu 2>/dev/null)}
	[ -f "$KO" ] || KO=$(find /lib/modules/ -name rust_iommu.ko 2>/dev/null | head -n 1)
	[ -f "$KO" ] || skip_all "no rust_iommu.ko is installed; KSFT_IOMMU_KO=FILE names one"
}

# --- disks

# Tests write to the first so many MiB.
WRITE_MIB=16
# sys_of NODE: the folder of a block device, by its numbers and not by its name.
sys_of() {
	ks_l=$(readlink -f "$1") && [ -b "$ks_l" ] || return 1
	readlink -f "/sys/dev/block/$((0x$(stat -c %t "$ks_l"))):$((0x$(stat -c %T "$ks_l")))"
}
# pci_of NODE: the PCI function that a block device is behind.
pci_of() { sys_of "$1" | sed -n 's,.*/\([0-9a-f]*:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f]\.[0-7]\)/.*,\1,p' | grep .; }
# disks_of BDF: the whole disks behind a PCI function, as nodes.
disks_of() {
	for ks_s in /sys/class/block/*; do
		case $(readlink -f "$ks_s") in */"$1"/*) ;; *) continue ;; esac
		[ -e "$ks_s/partition" ] || [ "$(cat "$ks_s/hidden" 2>/dev/null)" = 1 ] || echo "/dev/${ks_s##*/}"
	done
}
# the_disk_of BDF: DISK is the one that is behind it now.
the_disk_of() { DISK=$(disks_of "$1") && [ -b "$DISK" ]; }

# Why a block device must be left alone; empty if nobody uses it. The kernel gives a disk that is mounted, swapped on,
# part of a RAID or claimed in another way to nobody else who asks for it alone.
in_use() { # NODE
	ks_s=$(sys_of "$1") || { echo "it cannot be looked at" && return; }
	command -v block_busy >/dev/null || { echo "block_busy is not built (make)" && return; }
	for ks_s in "$ks_s" "$ks_s"/*/; do
		[ -e "$ks_s/dev" ] && [ -e "$ks_s/size" ] || continue
		grep -q "^[^ ]* [^ ]* $(cat "$ks_s/dev") " /proc/self/mountinfo && echo "it is mounted" && return
		[ -z "$(ls "$ks_s/holders" 2>/dev/null)" ] || { echo "something is built upon it" && return; }
		grep -q "^/dev/$(basename "$ks_s") " /proc/swaps 2>/dev/null && echo "it is swapped on" && return
	done
	block_busy "$1" 2>/dev/null || echo "it is in use"
}
# Why a disk must not be written to, beside that; empty if it holds nothing.
not_blank() { # NODE
	ks_s=$(sys_of "$1")
	ls "$ks_s"/*/partition >/dev/null 2>&1 && echo "it has partitions" && return
	[ "$(cat "$ks_s/ro")" = 0 ] || { echo "it is read-only" && return; }
	ks_n=$(($(cat "$ks_s/size") / 2048))
	[ $ks_n -ge $((2 * WRITE_MIB)) ] || { echo "it is smaller than $((2 * WRITE_MIB)) MiB" && return; }
	# Signatures are at both ends.
	{ dd if="$1" bs=1M count=$WRITE_MIB && dd if="$1" bs=1M skip=$((ks_n - 1)) count=2; } >"$TMP/blank" 2>/dev/null ||
		{ echo "it cannot be read" && return; }
	[ "$(wc -c <"$TMP/blank")" -gt $((WRITE_MIB * 1048576)) ] || { echo "it cannot be read" && return; }
	[ "$(tr -d '\000' <"$TMP/blank" | head -c 1 | wc -c)" = 0 ] || echo "it is not empty: its first $WRITE_MIB MiB and its last must be zeros"
	rm -f "$TMP/blank"
}

# need_block [unbind]: DISKS is what KSFT_IOMMU_BLOCK names, nobody uses any of them, and with KSFT_IOMMU_BLOCK_WRITE=1
# they are fit for writing, too. DISK is the last, behind BDF; for "unbind" it is the only one, named and behind BDF.
need_block() {
	DISKS=${KSFT_IOMMU_BLOCK:-}
	[ "$DISKS" ] || skip_all "no disk is named: KSFT_IOMMU_BLOCK=/dev/..."
	for DISK in $DISKS; do
		! in_test_vm || wait_for "$DISK" 20 || fatal "no $DISK"
		[ -b "$DISK" ] || skip_all "$DISK is no block device"
		BDF=$(pci_of "$DISK") || skip_all "$DISK is not behind a PCI function"
		[ -z "${1:-}" ] || [ "$DISKS" = "$DISK" ] || skip_all "takes one disk, not '$DISKS'"
		in_test_vm && continue
		if [ "${1:-}" ]; then
			[ "$(disks_of "$BDF")" = "$(readlink -f "$DISK")" ] ||
				skip_all "$DISK is a part, or $BDF has other disks: $(disks_of "$BDF" | tr '\n' ' ')"
		fi
		ks_why=$(in_use "$DISK")
		[ "$ks_why" ] || [ -z "$WRITE" ] || ks_why=$(not_blank "$DISK")
		[ -z "$ks_why" ] || skip_all "$DISK is left alone: $ks_why"
	done
}

# disk_sum: checksum of the disk's first MiB, by the device. disk_fill: with WRITE, other data get there; SUM is theirs.
disk_sum() { dd if="$DISK" bs=64k count=16 iflag=direct 2>/dev/null | sha256sum; }
# shellcheck disable=SC2034 # for the tests
disk_fill() {
	if [ "$WRITE" ]; then
		head -c 1048576 /dev/urandom >"$TMP/data"
		wrote "$DISK"
		dd if="$TMP/data" of="$DISK" bs=64k conv=notrunc,fsync 2>/dev/null || return 1
		SUM=$(sha256sum <"$TMP/data")
	else
		SUM=$(disk_sum)
	fi
}
# wrote NODE: its zeros are put back at the end.
wrote() {
	in_test_vm && return
	case " $KS_WRITTEN" in *" $1="*) ;; *) KS_WRITTEN="$KS_WRITTEN $1=$(pci_of "$1")" ;; esac
}

# --- devices, groups, the unit

# bdf_of DRIVER | VENDOR:DEVICE: the address of the first PCI device bound to DRIVER or with these ids (hexadecimal, 4
# digits each); all of them with bdfs_of.
bdfs_of() {
	ks_found=1
	case $1 in
	????:????)
		for ks_d in $PCI/*; do
			[ "$(cat "$ks_d/vendor"):$(cat "$ks_d/device")" = "0x${1%:*}:0x${1#*:}" ] && echo "${ks_d##*/}" && ks_found=0
		done
		;;
	*)
		for ks_d in "/sys/bus/pci/drivers/$1"/*:*:*.*; do
			[ -e "$ks_d" ] && echo "${ks_d##*/}" && ks_found=0
		done
		;;
	esac
	return $ks_found
}
bdf_of() { bdfs_of "$1" | head -n 1 | grep .; }

# any PATTERN: is there a file that matches?
any() { [ -e "$1" ]; }

# group_of BDF: the number of its IOMMU group. group_dir BDF: the group's folder.
group_of() { ks_l=$(readlink "$PCI/$1/iommu_group") && echo "${ks_l##*/}"; }
group_dir() { ks_l=$(group_of "$1") && echo "/sys/kernel/iommu_groups/$ks_l"; }

# unbind BDF; bind BDF DRIVER; set_type FOLDER TYPE: undone at the end.
unbind() {
	keep_driver "$1"
	echo "$1" >"$PCI/$1/driver/unbind"
}
bind() {
	keep_driver "$1"
	echo "$2" >"$PCI/$1/driver_override"
	echo "$1" >/sys/bus/pci/drivers_probe
}
set_type() {
	case " $KS_TYPES" in *" $1="*) ;; *) KS_TYPES="$KS_TYPES $1=$(cat "$1/type")" ;; esac
	echo "$2" >"$1/type"
}

# state_of BDF: paging, identity or blocked.
state_of() { sed -n "s/^$1 .*\(identity\|paging\|blocked\).*/\1/p" $DEBUG/devices; }

# release_units: hands the units back. The one place that knows how.
RELEASE=/sys/devices/faux/rust_iommu/release
release_units() { echo 1 >$RELEASE; }

# load MODULE...: loads modules and what they need.
load() {
	for ks_m in "$@"; do
		modprobe "$ks_m" || fatal "cannot load $ks_m"
	done
}

# --- the log, time, leaks

# log_mark: log_has looks at what comes after it.
KS_MARK='no mark'
log_mark() {
	KS_MARK="kselftest: mark $$ $(cut -d' ' -f1 /proc/uptime)"
	echo "$KS_MARK" >/dev/kmsg
}
log_has() { dmesg | { [ "$KS_MARK" = "no mark" ] && cat || sed "1,/$KS_MARK/d"; } | grep -q -- "$1"; }

# quiet_log: the driver has ten lines of faults for five seconds; what came before must not cost a test its own.
quiet_log() { ! dmesg | grep -q 'rust_iommu: .*blocked' || sleep 6; }

# wait_until SECONDS COMMAND...: repeats the command until it succeeds. wait_for FILE SECONDS
wait_until() {
	ks_left=$(($1 * SCALE * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		ks_left=$((ks_left - 1))
		[ $ks_left -gt 0 ] || return 1
		sleep 0.1
	done
}
wait_for() {
	wait_until "$2" test -e "$1" || {
		echo "no $1 after $2 s"
		return 1
	}
}

# kmemleak_check: scans for leaks, where the kernel can; shows them and fails if there are any. Call kmemleak_clear
# before the part of interest.
kmemleak_clear() { [ ! -e /sys/kernel/debug/kmemleak ] || echo clear >/sys/kernel/debug/kmemleak; }
kmemleak_check() {
	[ -e /sys/kernel/debug/kmemleak ] || return 0
	# An object counts when it is at least 5 s old and two scans do not find it.
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	sleep 1
	echo scan >/sys/kernel/debug/kmemleak
	[ -z "$(head -c 1 /sys/kernel/debug/kmemleak)" ] && return 0
	head -n 60 /sys/kernel/debug/kmemleak
	return 1
}
