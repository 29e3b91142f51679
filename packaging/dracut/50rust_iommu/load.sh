#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Loads rust_iommu before udev loads the devices' drivers: a device that has a driver already
# stays untranslated. dracut reads this file into its own shell: no exit.
case " $(cat /proc/cmdline) " in
*" rust_iommu=off "*)
	echo "<4>rust_iommu: not loaded: rust_iommu=off" >/dev/kmsg
	;;
*)
	# Whatever happens, the machine shall boot; the kernel's log has the reason.
	modprobe rust_iommu || echo "<4>rust_iommu: not loaded by the initramfs: DMA is not translated" >/dev/kmsg
	;;
esac
