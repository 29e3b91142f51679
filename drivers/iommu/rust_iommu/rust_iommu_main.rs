// SPDX-License-Identifier: GPL-2.0

//! Module entry: parameters, then units, then the core, then the views.

// What one family alone uses is no mistake in a build without it.
#![cfg_attr(
    not(all(CONFIG_RUST_IOMMU_AMD, CONFIG_RUST_IOMMU_VTD)),
    allow(dead_code)
)]

use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    bus_notifier::PciBusNotifier,
    control::ControlDevice,
    shrinker::Shrinker,
    syscore::PowerNotices, //
};

#[forbid(unsafe_code)]
mod acs;
#[forbid(unsafe_code)]
mod addresses;
#[cfg(CONFIG_RUST_IOMMU_AMD)]
#[forbid(unsafe_code)]
mod amd_vi;
#[forbid(unsafe_code)]
mod attach;
#[forbid(unsafe_code)]
mod calls;
#[forbid(unsafe_code)]
mod debugfs;
#[forbid(unsafe_code)]
mod device;
#[forbid(unsafe_code)]
mod device_view;
#[forbid(unsafe_code)]
mod dma;
#[forbid(unsafe_code)]
mod dma_list;
#[forbid(unsafe_code)]
mod dma_ops;
#[forbid(unsafe_code)]
mod domain;
#[forbid(unsafe_code)]
mod domain_ids;
#[forbid(unsafe_code)]
mod family;
#[forbid(unsafe_code)]
mod fault;
mod glue;
#[forbid(unsafe_code)]
mod group;
#[forbid(unsafe_code)]
mod group_view;
#[forbid(unsafe_code)]
mod interrupts;
#[forbid(unsafe_code)]
mod iommu;
#[cfg(CONFIG_RUST_IOMMU_KUNIT_TEST)]
mod kunit;
#[forbid(unsafe_code)]
mod lazy;
#[forbid(unsafe_code)]
mod leaves;
#[forbid(unsafe_code)]
mod machine;
#[forbid(unsafe_code)]
mod ops;
#[forbid(unsafe_code)]
mod params;
#[forbid(unsafe_code)]
mod queue;
#[forbid(unsafe_code)]
mod refusal;
#[forbid(unsafe_code)]
mod release;
#[forbid(unsafe_code)]
mod reserve;
#[cfg(CONFIG_RUST_IOMMU_VTD)]
#[forbid(unsafe_code)]
mod vt_d;

module! {
    type: RustIommu,
    name: "rust_iommu",
    authors: ["The rust_iommu developers"],
    description: "IOMMU driver for AMD-Vi and Intel VT-d",
    license: "GPL v2",
}

/// The loaded module. Fields go in this order: the views first, so that nobody looks at what is
/// being taken apart; the units are stopped last.
struct RustIommu {
    _control: ControlDevice<machine::Machine>,
    _debugfs: debugfs::Files,
    _notifier: Pin<KBox<PciBusNotifier<machine::Machine>>>,
    _power: Pin<KBox<PowerNotices<machine::Machine>>>,
    _shrinker: Shrinker<machine::Machine>,
    machine: Arc<machine::Machine>,
}

impl kernel::Module for RustIommu {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // Spinlocks sleep there, and the command queue takes one with interrupts off.
        if cfg!(CONFIG_PREEMPT_RT) {
            pr_err!("not for a kernel with CONFIG_PREEMPT_RT; boot one without it\n");
            return Err(EOPNOTSUPP);
        }
        let params = params::Params::read()?;
        Self::start(module, params).inspect_err(|e| match *e {
            ENODEV => pr_err!("no IOMMU that this version can drive\n"),
            // Said where it was found.
            EBUSY => (),
            e => pr_err!("cannot start ({:?}); all units are as they were\n", e),
        })
    }
}

impl RustIommu {
    fn start(module: &'static ThisModule, params: params::Params) -> Result<Self> {
        let machine = find(module, params)?;
        if cfg!(any(CONFIG_RUST_IOMMU_AMD, CONFIG_RUST_IOMMU_VTD)) {
            interrupts::say_cost();
        }
        let notifier = KBox::pin_init(PciBusNotifier::new(machine.clone()), GFP_KERNEL)?;
        let power = KBox::pin_init(PowerNotices::new(machine.clone()), GFP_KERNEL)?;
        let shrinker = Shrinker::new(c"rust_iommu", machine.clone())?;
        let debugfs = debugfs::Files::new(&machine)?;
        let control = ControlDevice::new(c"rust_iommu", machine.clone())?;
        Ok(Self {
            _control: control,
            _debugfs: debugfs,
            _notifier: notifier,
            _power: power,
            _shrinker: shrinker,
            machine,
        })
    }
}

/// Finds the machine's units and registers their driver. No machine has two families.
fn find(module: &'static ThisModule, params: params::Params) -> Result<Arc<machine::Machine>> {
    #[cfg(CONFIG_RUST_IOMMU_AMD)]
    if params.units != params::Units::VtD {
        match amd_vi::find(params) {
            Err(e) if e == ENODEV && params.units == params::Units::Auto => {}
            found => return machine::Machine::new(module, found?),
        }
    }
    #[cfg(CONFIG_RUST_IOMMU_VTD)]
    if params.units != params::Units::AmdVi {
        return match vt_d::find(params)? {
            vt_d::Found::Second(iommu) => machine::Machine::new(module, iommu),
            vt_d::Found::First(iommu) => machine::Machine::new(module, iommu),
        };
    }
    #[cfg(not(any(CONFIG_RUST_IOMMU_AMD, CONFIG_RUST_IOMMU_VTD)))]
    let _ = (module, params);
    Err(ENODEV)
}

impl Drop for RustIommu {
    fn drop(&mut self) {
        // The module cannot go while a device is translated, so this finds the units released or
        // without devices.
        self.machine.shut_down();
    }
}
