# SPDX-License-Identifier: GPL-2.0
# Gives the fake device 1af4:10f0 to vfio-pci and runs vfio_churn on it, ROUNDS with SEED; the kernel
# leaves the memory at 512 MiB alone.
# shellcheck shell=sh
dev=$(bdf_of 1af4:10f0)
bind "$dev" vfio-pci
vfio_churn "$dev" "$ROUNDS" "$SEED" 0x20000000
