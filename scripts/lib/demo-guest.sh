# SPDX-License-Identifier: GPL-2.0
# The guest's half of make demo: real I/O through the IOMMU, then an illegal DMA.
# shellcheck shell=sh
D=/sys/kernel/debug/rust_iommu
fail=
mib() { echo "$(($1 / 1048576)) MiB"; }
# server BDF: who serves the device's DMA API, in one word of debugfs; served BDF: that and its calls, in words.
server() { sed -n "s/^$1 .* served by \([^ ]*\) .*/\1/p" $D/devices; }
served() {
	case $(server "$1") in
	rust) by="our DMA API" ;;
	core) by="the core on our tables" ;;
	dma-direct) by="nobody: passed through" ;;
	*) by="nobody: $(sed -n "s/^$1 untranslated: //p" $D/devices)" ;;
	esac
	echo "served by $by$(sed -n "s/^$1 .* maps \([0-9]*\) unmaps \([0-9]*\) .*/, \1 maps, \2 unmaps/p" $D/devices)"
}
# expect BDF NAME WHO: the device is served as `dma=` wants it, and its calls were counted.
expect() {
	[ "$(server "$1")" = "$3" ] || fail="$fail $2 is not served by $3;"
	grep -Eq "^$1 .* maps [1-9][0-9]* unmaps [1-9]" $D/devices || fail="$fail no maps of $2 counted;"
}
[ -e $D/devices ] || fail=" rust_iommu is not loaded;"
dma=$(cat /dma)

echo "== unit"
dmesg | sed -n 's/^.*rust_iommu: \([a-z-]*[0-9]: .*at 0x[0-9a-f]*, .*\)/  \1/p'
echo "== groups"
for g in /sys/kernel/iommu_groups/*; do
	echo "  ${g##*/} $(cat "$g/name") ($(cat "$g/type")): $(ls "$g/devices" | tr '\n' ' ')"
done

echo "== NVMe"
nvme=$(bdf_of nvme)
# Without it a file of that name would be written and read.
[ -b /dev/nvme0n1 ] || fail="$fail no NVMe disk;"
dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null
want=$(sha256sum </tmp/data)
dd if=/tmp/data of=/dev/nvme0n1 bs=1M oflag=direct 2>/dev/null
got=$(dd if=/dev/nvme0n1 bs=1M count=64 iflag=direct 2>/dev/null | sha256sum)
[ "$want" = "$got" ] && s=match || { s=DIFFER; fail="$fail NVMe data differ;"; }
echo "  $nvme: 64 MiB written, 64 MiB read back, SHA-256 $s"
echo "  $nvme: $(served "$nvme")"

echo "== e1000e"
nic=$(bdf_of e1000e)
net_up "$(ls "/sys/bus/pci/devices/$nic/net" | head -n 1)"
got=$(nc 10.0.2.100 80 </dev/null | tee /tmp/net | sha256sum)
[ "$(cat /expected.sha256)" = "${got%% *}" ] && s=match || { s=DIFFER; fail="$fail e1000e data differ;"; }
echo "  $nic: $(mib "$(wc -c </tmp/net)") received, SHA-256 $s"
echo "  $nic: $(served "$nic")"
case $dma in auto) expect "$nvme" NVMe core ;; *) expect "$nvme" NVMe "$dma" ;; esac
case $dma in auto) expect "$nic" e1000e rust ;; *) expect "$nic" e1000e "$dma" ;; esac

echo "== all devices"
for d in /sys/bus/pci/devices/*; do
	bdf=${d##*/}
	driver=$(readlink "$d/driver") || driver=
	echo "  $bdf ${driver##*/}${driver:+ }$(served "$bdf")"
done

echo "== illegal DMA"
# Into the memory of a program that has given it to no device, by its physical address.
out=$(iommu_testdev "$(bdf_of 1b36:0005)" gpa auto 64)
echo "  $out"
case $out in *"write blocked"*) ;; *) fail="$fail illegal DMA was not blocked;" ;; esac
case $out in *changed=0*) echo "  canary untouched" ;; *) fail="$fail the canary changed;" ;; esac
sleep 1
line=$(dmesg | sed -n 's|^.*\(rust_iommu: [a-z-]*0: .*blocked\)|\1|p' | head -n 1)
[ -n "$line" ] || fail="$fail no fault line;"
echo "  log: $line"
if [ -z "$fail" ]; then
	echo "demo: PASS"
else
	echo "demo: FAIL ($fail)"
	exit 1
fi
