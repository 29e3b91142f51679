# SPDX-License-Identifier: GPL-2.0
# Thin: each target is a script or a Kbuild call. See README.md.
KDIR ?= /lib/modules/$(shell uname -r)/build
LLVM ?= 1

.PHONY: modules modules_install clean demo check bench setup

modules modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) LLVM=$(LLVM) $@

setup:
	scripts/setup

demo:
	@scripts/demo $(if $(UNIT),--unit $(UNIT)) $(if $(DMA),--dma $(DMA))

check:
	@scripts/check $(SUITE)

bench:
	@scripts/bench
