#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Gives the fake device 1af4:10f0 to vfio-pci and runs vfio_churn on it, ROUNDS with SEED; the kernel leaves the memory at
# 512 MiB alone.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes a fake device that looks on"
need_device 1af4:10f0 "fake device"
need_program vfio_churn
bind "$BDF" vfio-pci
vfio_churn "$BDF" "$ROUNDS" "$SEED" 0x20000000
end $?
