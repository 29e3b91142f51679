# SPDX-License-Identifier: GPL-2.0
# Functions for scripts that run in a guest of scripts/vm. There it is /lib/vm.sh, and a script
# has them without asking. The environment has VM_UNIT, VM_DRIVER, VM_FLAVOUR and VM_SCALE (the
# factor for waiting).
# shellcheck shell=sh

# say TEXT...: a line of progress.
say() { echo "# $*"; }

# fatal TEXT...: ends the script.
fatal() {
	echo "FATAL: $*"
	exit 1
}

# load MODULE...: loads modules and what they need; to give parameters, use modprobe.
load() {
	for vm_m in "$@"; do
		modprobe "$vm_m" || fatal "cannot load $vm_m"
	done
}

# TAP: ok TEXT and fail TEXT print one result, check TEXT COMMAND... runs the command for it,
# and "plan" at the end prints the count and gives the script's status; with LEAKS set, a leak that
# kmemleak finds is a failure, too.
VM_TESTS=0
VM_FAILED=0
ok() {
	VM_TESTS=$((VM_TESTS + 1))
	echo "ok $VM_TESTS - $*"
}
fail() {
	VM_TESTS=$((VM_TESTS + 1))
	VM_FAILED=$((VM_FAILED + 1))
	echo "not ok $VM_TESTS - $*"
}
check() {
	vm_text=$1
	shift
	if vm_out=$("$@" 2>&1); then
		ok "$vm_text"
	else
		fail "$vm_text"
		echo "$vm_out" | sed 's/^/# /'
	fi
}
check_not() {
	vm_text=$1
	shift
	if vm_out=$("$@" 2>&1); then
		fail "$vm_text"
		echo "$vm_out" | sed 's/^/# /'
	else
		ok "$vm_text"
	fi
}
# eq TEXT WANTED GOT
eq() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: wanted '$2', got '$3'"; fi
}
plan() {
	[ -z "$LEAKS" ] || check "no memory leaked" kmemleak_check
	echo "1..$VM_TESTS"
	[ "$VM_FAILED" = 0 ]
	exit
}

# bdf_of DRIVER | VENDOR:DEVICE: the address of the first PCI device bound to DRIVER or with
# these ids (hexadecimal, 4 digits each); all of them with bdfs_of.
bdfs_of() {
	vm_found=1
	case $1 in
	????:????)
		for vm_d in /sys/bus/pci/devices/*; do
			read -r vm_v <"$vm_d/vendor"
			read -r vm_i <"$vm_d/device"
			[ "$vm_v:$vm_i" = "0x${1%:*}:0x${1#*:}" ] && echo "${vm_d##*/}" && vm_found=0
		done
		;;
	*)
		for vm_d in "/sys/bus/pci/drivers/$1"/*:*:*.*; do
			[ -e "$vm_d" ] && echo "${vm_d##*/}" && vm_found=0
		done
		;;
	esac
	return $vm_found
}
bdf_of() { bdfs_of "$1" | head -n 1 | grep .; }

# wait_until SECONDS COMMAND...: repeats the command until it succeeds.
wait_until() {
	vm_left=$(($1 * VM_SCALE * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		vm_left=$((vm_left - 1))
		[ $vm_left -gt 0 ] || return 1
		usleep 100000
	done
}

# wait_for FILE SECONDS: waits until the file is there.
wait_for() {
	wait_until "$2" test -e "$1" || {
		echo "no $1 after $2 s"
		return 1
	}
}

# wait_host LINE: says that the guest is ready, and waits for LINE from the host (Machine.send).
wait_host() {
	echo "host: ready"
	while read -r vm_line; do
		[ "$vm_line" = "$1" ] && return 0
	done </dev/ttyS1
}

# group_of BDF: the number of a device's IOMMU group.
group_of() {
	vm_l=$(readlink "/sys/bus/pci/devices/$1/iommu_group") || return 1
	echo "${vm_l##*/}"
}

# unit_name: the name of the first unit, as /sys/class/iommu and the log have it.
unit_name() { case $VM_UNIT in amd-vi) echo ivhd0 ;; *) echo dmar0 ;; esac }

# unbind BDF; bind BDF DRIVER
unbind() { echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"; }
bind() {
	echo "$2" >"/sys/bus/pci/devices/$1/driver_override"
	echo "$1" >/sys/bus/pci/drivers_probe
}

# release_units: hands all units back; fails while a translated device has a driver.
RELEASE=/sys/devices/faux/rust_iommu/release
release_units() { echo 1 >$RELEASE; }

# nic_of BDF: the network interface of a PCI device.
nic_of() {
	for vm_n in "/sys/bus/pci/devices/$1"/net/* "/sys/bus/pci/devices/$1"/virtio*/net/*; do
		[ -e "$vm_n" ] && echo "${vm_n##*/}" && return 0
	done
	return 1
}

# net_up IFACE: the address 10.0.2.15/24 and a link; the host answers as 10.0.2.2.
net_up() {
	ip link set lo up
	ip addr add 10.0.2.15/24 dev "$1" && ip link set "$1" up &&
		wait_until 20 grep -q 1 "/sys/class/net/$1/carrier"
}

# serve_get FILE: fetches what --serve offers. sink_put FILE: sends FILE to --sink.
serve_get() { nc 10.0.2.100 80 </dev/null >"$1"; }
sink_put() { nc 10.0.2.100 81 <"$1" | grep -q done; }

# kmemleak_check: scans for leaks (debug flavour); shows them and fails if there are any.
# Call kmemleak_clear before the part of interest.
kmemleak_clear() { echo clear >/sys/kernel/debug/kmemleak; }
kmemleak_check() {
	[ -e /sys/kernel/debug/kmemleak ] || {
		say "no kmemleak in this kernel: not checked"
		return 0
	}
	# An object counts when it is at least 5 s old and two scans do not find it.
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	sleep 1
	echo scan >/sys/kernel/debug/kmemleak
	[ -z "$(head -c 1 /sys/kernel/debug/kmemleak)" ] && return 0
	head -n 60 /sys/kernel/debug/kmemleak
	return 1
}
