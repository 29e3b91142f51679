# SPDX-License-Identifier: GPL-2.0
# With the C driver active, ours is refused and says what to do.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
echo 1..3
insmod /lib/modules/rust_iommu.ko 2>/tmp/err
if grep -q 'busy' /tmp/err; then echo "ok 1 - EBUSY"; else echo "not ok 1 - EBUSY"; fi
if dmesg | grep -q 'the C driver owns the IOMMU; boot with [a-z]*_iommu=off'; then echo "ok 2 - the log says how to boot"; else echo "not ok 2 - the log says how to boot"; fi
if dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct 2>/dev/null; then echo "ok 3 - I/O of the C driver goes on"; else echo "not ok 3 - I/O of the C driver goes on"; fi
