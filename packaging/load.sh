#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Loads rust_iommu before udev loads the devices' drivers: a device that has a driver already
# stays untranslated. initramfs-tools runs this file of init-top by its own, in the order of names
# as it has no prerequisites, so before udev's; dracut reads its pre-udev hooks into its own shell: no exit.
rust_iommu_note() { echo "<4>rust_iommu: not loaded$*" >/dev/kmsg; }

if [ "${1:-}" != prereqs ]; then
	case " $(cat /proc/cmdline) " in
	*" rust_iommu=off "*)
		rust_iommu_note ": rust_iommu=off"
		;;
	*)
		# Whatever happens, the machine shall boot; the kernel's log has the reason.
		modprobe rust_iommu || rust_iommu_note " by the initramfs: DMA is not translated"
		;;
	esac
fi
