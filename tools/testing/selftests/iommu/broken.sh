# SPDX-License-Identifier: GPL-2.0
# The unit stops taking commands under I/O: I/O goes on with addresses that were never used, nothing hangs, one line says so.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
wait_for /dev/nvme0n1 20 || fatal "no disk"
nvme=$(bdf_of nvme)
check "control: I/O" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=10 iflag=direct
case $VM_UNIT in
amd-vi) devmem 0xfed80018 64 $(($(devmem 0xfed80018 64) & ~0x1000)) ;; # CmdBufEn off
vt-d) devmem 0xfed90018 32 0x80000000 ;;                               # translation on, the queue off
esac
start=$(date +%s)
check "I/O goes on" timeout $((60 * VM_SCALE)) dd if=/dev/nvme0n1 of=/dev/null bs=64k count=10 iflag=direct
took=$(($(date +%s) - start))
if [ $took -lt $((40 * VM_SCALE)) ]; then ok "within bounds"; else fail "within bounds: $took s"; fi
eq "one line says that commands are not completed" 1 "$(dmesg | grep -c 'does not complete commands')"
check "debugfs says so" grep -q "commands: broken" /sys/kernel/debug/rust_iommu/units
check "the addresses are kept back" sh -c "dmesg | grep -q 'could not be invalidated are not used again'"
check "the driver can be unbound" unbind "$nvme"
check "the unit can be released" release_units
check "and the module removed" rmmod rust_iommu
bind "$nvme" nvme
check "the disk is back" wait_for /dev/nvme0n1 60
check "I/O without the unit" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=10 iflag=direct
plan
