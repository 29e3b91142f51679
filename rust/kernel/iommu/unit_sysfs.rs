// SPDX-License-Identifier: GPL-2.0

//! What users find of a unit in `/sys/class/iommu`: the attributes of the C drivers.
//!
//! Source: Documentation/ABI/testing/sysfs-class-iommu-amd-iommu and sysfs-class-iommu-intel-iommu; what is
//! not there (`domains_supported`, `domains_used`) is as srctree/drivers/iommu/intel/iommu.c has it.

use kernel::{
    bindings,
    ffi::c_uint, //
};

use super::{
    driver::Driver,
    ops::IommuDevice, //
};

/// An array that a null pointer ends.
#[repr(transparent)]
pub(super) struct Groups(*const bindings::attribute_group);

// SAFETY: constant.
unsafe impl Sync for Groups {}

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/unit_sysfs.c
        pub(super) static rust_iommu_amd_groups: Groups;
        pub(super) static rust_iommu_intel_groups: Groups;
    }
}

/// The attributes of a unit, by its family. Constant while the unit is in sysfs.
#[derive(Clone, Copy, Debug)]
pub enum Attributes {
    /// `amd-iommu/`.
    AmdVi {
        /// The capability header.
        cap: u32,
        /// Both extended feature registers, as far as all units have them.
        features: [u64; 2],
    },
    /// `intel-iommu/`.
    VtD {
        /// VER_REG.
        version: u32,
        /// Physical address of the registers.
        address: u64,
        /// CAP_REG.
        cap: u64,
        /// ECAP_REG.
        ecap: u64,
        /// Domain IDs there are.
        domains: u32,
    },
}

impl Attributes {
    /// The groups to put in sysfs, as the driver core wants them: an array that a null pointer ends.
    pub(super) fn groups(&self) -> *mut *const bindings::attribute_group {
        let groups = match self {
            Self::AmdVi { .. } => &raw const ffi::rust_iommu_amd_groups,
            Self::VtD { .. } => &raw const ffi::rust_iommu_intel_groups,
        };
        groups.cast_mut().cast()
    }
}

/// `struct rust_iommu_facts`; what a family does not have is 0.
#[repr(C)]
pub(super) struct Facts {
    address: u64,
    cap: u64,
    ecap: u64,
    features: [u64; 2],
    version: u32,
    domains: u32,
    domains_used: unsafe extern "C" fn(*mut IommuDevice) -> c_uint,
}

impl Facts {
    pub(super) fn of<T: Driver>(attributes: Attributes) -> Self {
        let none = Self {
            address: 0,
            cap: 0,
            ecap: 0,
            features: [0; 2],
            version: 0,
            domains: 0,
            domains_used: domains_used::<T>,
        };
        match attributes {
            Attributes::AmdVi { cap, features } => Self {
                cap: cap.into(),
                features,
                ..none
            },
            Attributes::VtD {
                version,
                address,
                cap,
                ecap,
                domains,
            } => Self {
                address,
                cap,
                ecap,
                version,
                domains,
                ..none
            },
        }
    }
}

/// # Safety
///
/// `unit` must be in sysfs, put there for driver `T`.
unsafe extern "C" fn domains_used<T: Driver>(unit: *mut IommuDevice) -> c_uint {
    // SAFETY: by contract.
    let unit = unsafe { &*unit };
    T::slot()
        .get()
        .map_or(0, |driver| driver.domains_used(unit))
}
