// SPDX-License-Identifier: GPL-2.0

//! The mode of the processors' interrupt controllers.
//!
//! C header: [`arch/x86/include/asm/apic.h`](srctree/arch/x86/include/asm/apic.h)

mod ffi {
    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_x2apic_is_on() -> bool;
    }
}

/// Do APIC IDs have 32 bits here? Without, processors with IDs above 254 cannot be started. `true`, too, where there is
/// no such controller.
pub fn is_on() -> bool {
    // SAFETY: it reads a register of this processor.
    unsafe { ffi::rust_helper_iommu_x2apic_is_on() }
}
