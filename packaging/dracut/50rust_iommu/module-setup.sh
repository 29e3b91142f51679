#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# dracut module: puts rust_iommu.ko into the initramfs and has it loaded before udev starts.

# Only where there is a module for this kernel.
check() {
	modinfo -k "${kernel:?}" rust_iommu >/dev/null 2>&1 || {
		dwarn "rust_iommu: no module for kernel $kernel: with it, DMA is not translated"
		return 1
	}
}

depends() { :; }

installkernel() { hostonly='' instmods rust_iommu; }

install() {
	inst_multiple cat modprobe
	inst_hook pre-udev 01 "${moddir:?}/load.sh"
}
