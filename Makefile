# SPDX-License-Identifier: GPL-2.0
# Thin: each target is a script or a Kbuild call. See README.md.
KDIR ?= /lib/modules/$(shell uname -r)/build
given = $(filter command environment,$(firstword $(origin $(1))))
.DEFAULT_GOAL := $(if $(call given,KDIR),modules,help)

.PHONY: help modules modules_install clean demo check bench setup

help:
	@echo 'make demo [UNIT=vt-d] [DMA=rust|core] [FLAVOUR=lean]'
	@echo '                            boots Debian'\''s kernel in QEMU with rust_iommu: needs no kernel of yours,'
	@echo '                            no root; about 5 minutes and 5 GB the first time, 30 s then'
	@echo 'make check [SUITE=name]     runs the tests, an hour; scripts/check says which suites there are'
	@echo 'make KDIR=DIR modules       builds rust_iommu.ko for a Linux 7.3 (default: the running kernel)'
	@echo 'make modules_install        installs it; packaging/ has DKMS, initramfs and signing'
	@echo 'make bench, make setup      measures against the C drivers; fetches tools and kernels'
	@echo 'README.md says what it is, docs/vm.md how to boot a machine of your own: scripts/vm --help'

# The compiler is the kernel's; LLVM= or CC= replaces it.
modules:
	@arguments=$$(scripts/preflight '$(KDIR)' $(if $(call given,LLVM),'LLVM=$(LLVM)',$(if $(call given,CC),'CC=$(CC)'))) && \
		$(MAKE) -C '$(KDIR)' M='$(CURDIR)' $$arguments modules

modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

setup:
	scripts/setup

demo:
	@scripts/demo $(if $(UNIT),--unit $(UNIT)) $(if $(DMA),--dma $(DMA)) $(if $(FLAVOUR),--flavour $(FLAVOUR))

check:
	@scripts/check $(SUITE)

bench:
	@scripts/bench
