# SPDX-License-Identifier: GPL-2.0
# Release, removal and late load with drivers bound; wrong parameters.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
n=0
t() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi; }
D=/sys/kernel/debug/rust_iommu
KO=$(find /lib/modules -name rust_iommu.ko)
nvme=0000:01:00.0
readable() { dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct 2>/dev/null; }
rebind() { echo $nvme >/sys/bus/pci/drivers/nvme/"$1"; [ "$1" = unbind ] || wait_for /dev/nvme0n1 10; }
echo 1..20
readable; t $? "I/O"
release_units 2>/dev/null; [ $? != 0 ]; t $? "release is refused while a driver is bound"
dmesg | grep -q "release: $nvme has a driver"; t $? "the log names the device"
says() { { echo "$1" >$RELEASE; } 2>&1 | grep -q "$2"; }
says 1 "busy"; t $? "which is EBUSY"
says 0 "Invalid argument" && says 11 "Invalid argument"; t $? "anything but 1 is EINVAL"
rmmod rust_iommu 2>/dev/null; [ $? != 0 ]; t $? "the module stays while devices are translated"
rebind unbind
for d in ahci; do for x in /sys/bus/pci/drivers/$d/0000*; do [ -e "$x" ] && echo "${x##*/}" >/sys/bus/pci/drivers/$d/unbind; done; done
release_units; t $? "release with nothing bound"
says 1 "No such device"; t $? "a second release is ENODEV"
rmmod rust_iommu; t $? "removal"
[ ! -e $RELEASE ]; t $? "the file goes with the module"
# Who writes all the time neither keeps the module nor is still in it when it is gone.
while :; do release_units; done 2>/dev/null &
writer=$! i=0
while [ $i -lt 10 ] && insmod "$KO" && wait_until 20 rmmod rust_iommu; do i=$((i + 1)); done
kill $writer
[ $i = 10 ]; t $? "removal under writers"
# What the unit still points to would be the module's freed memory: overwrite all that is free.
fill_free
for bad in unit=foo dma=foo; do
	insmod "$KO" $bad 2>/dev/null; [ $? != 0 ] && dmesg | grep -q "$bad: unknown value; one of"; t $? "$bad is refused with the list"
done
insmod "$KO" isolate=01:00.0,foo 2>/dev/null; [ $? != 0 ] && dmesg | grep -q "isolate=01:00.0,foo: 'foo' is neither an address"; t $? "a wrong item of isolate is refused by name"
rebind bind
readable; t $? "I/O without the module"
insmod "$KO"; t $? "late load"
dmesg | grep -q "$nvme: in use by a driver"; t $? "the log says what stays untranslated"
readable; t $? "I/O goes on under the late load"
rebind unbind; rebind bind
grep -q "^$nvme .*paging" $D/devices; t $? "after a rebind the device is translated"
readable; t $? "I/O translated"
