# SPDX-License-Identifier: GPL-2.0
# Disk I/O of all sizes on a device that shares its group with the fake one; then nothing is mapped.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
echo 1..2
nvme=$(bdf_of nvme)
for bs in 512 4k 12k 64k 512k; do
	dd if=/dev/nvme0n1 of=/dev/null bs=$bs count=40 iflag=direct 2>/dev/null &
	dd if=/dev/zero of=/dev/nvme0n1 bs=$bs count=40 oflag=direct 2>/dev/null || break
	wait
done
echo "ok 1 - I/O"
unbind "$nvme"
sed -n "s/^$nvme .*maps \([0-9]*\) unmaps \([0-9]*\).*/calls: maps \1 unmaps \2/p" /sys/kernel/debug/rust_iommu/devices
echo "ok 2 - unbound"
# What is seen after this is the unit being switched off.
wait_host look
