// SPDX-License-Identifier: GPL-2.0

//! From firmware's table to running units.

use core::marker::PhantomData;

use iommu_core::{
    acpi::dmar::{
        Dmar,
        Drhd,
        Structure, //
    },
    pt::{
        vtd_ss::VtdSs,
        x86::X86, //
    },
    vtd::cap::Mode, //
};
use kernel::{
    error::code::*,
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    acpi_table::AcpiTable,
    hw_pages::memory_is_encrypted,
    pci_topology,
    unit_irq::UnitLine, //
};

use super::{
    faults::Faults,
    hardware::Hardware,
    scopes::OwnedScopes,
    unit::Unit,
    Memory,
    VtD,
    VtdFormat, //
};
use crate::{
    acs,
    device::Required,
    domain::MAX_UNITS,
    family::Unit as _,
    glue::Show,
    iommu::{
        leave_devices_in_use,
        Iommu, //
    },
    params, //
};

/// The interrupts of all units.
pub(crate) type Lines<F> = KVec<UnitLine<Faults<F>>>;

/// The driver, by the format of its page tables.
pub(crate) enum Found {
    /// Second-stage tables.
    Second(Arc<Iommu<VtD<VtdSs>>>),
    /// First-stage tables: no unit has others.
    First(Arc<Iommu<VtD<X86>>>),
}

/// Finds and starts all units that firmware describes. Devices that are in use stay untranslated.
///
/// # Errors
///
/// - `ENODEV`: no table, or no unit that can be driven; all hardware is as it was.
/// - `EBUSY`: the C driver has the hardware.
/// - `ENOMEM`.
pub(crate) fn find(params: params::Params) -> Result<Found> {
    let table = AcpiTable::get(b"DMAR").ok_or(ENODEV)?;
    let dmar = Dmar::parse(table.bytes()).map_err(|e| {
        pr_err!("{}; no VT-d unit is touched\n", Show(e));
        ENODEV
    })?;
    if memory_is_encrypted() {
        pr_err!("memory encryption is active, which this driver does not support; boot with mem_encrypt=off\n");
        return Err(ENODEV);
    }
    let memory = required_memory(&dmar)?;
    let units = units(&dmar)?;
    let first_stage = |u: &Arc<Unit>| u.hw.caps.mode() == Mode::FirstStage;
    if units.iter().all(first_stage) {
        Ok(Found::First(run(memory, units, params)?))
    } else if !units.iter().any(first_stage) {
        Ok(Found::Second(run(memory, units, params)?))
    } else {
        pr_err!("some units have first-stage tables only and others have none, which this driver does not support; all are left alone\n");
        Err(ENODEV)
    }
}

/// The units that can be driven, those with the rest of a segment last. Hardware is not changed.
#[inline(never)] // Not in the frame of `find`, with all that it builds.
fn units(dmar: &Dmar<'_>) -> Result<KVec<Arc<Unit>>> {
    let mut units = KVec::new();
    for error in dmar.structures().filter_map(|s| s.err()) {
        pr_err!("{}; it is ignored\n", Show(error));
    }
    let mut built = KVec::new();
    for drhd in dmar.units_in_order() {
        let drhd = match drhd {
            Ok(drhd) => drhd,
            Err(e) => {
                pr_err!("{}; the unit is left alone\n", Show(e));
                continue;
            }
        };
        if units.len() >= MAX_UNITS {
            pr_err!("more than {} units; the rest is left alone\n", MAX_UNITS);
            break;
        }
        let lost = lost(dmar, &built, &drhd)?;
        match build(units.len(), dmar.number_of(&drhd), &drhd, lost) {
            Ok(unit) => {
                units.push(unit, GFP_KERNEL)?;
                built.push(drhd.offset, GFP_KERNEL)?;
            }
            Err(e) if e == EBUSY => {
                pr_err!("the C driver owns the IOMMU; boot with intel_iommu=off intremap=off to use this one\n");
                return Err(EBUSY);
            }
            // Some other time all units can be driven.
            Err(e) if e == ENOMEM => return Err(ENOMEM),
            Err(e) => pr_err!(
                "unit at {:#x} cannot be driven ({:?}); its devices stay untranslated\n",
                drhd.base,
                e
            ),
        }
    }
    if units.is_empty() {
        pr_err!("DMAR: no unit that can be driven\n");
        return Err(ENODEV);
    }
    Ok(units)
}

/// What belongs to units that are not driven, and so not to the unit with the rest: requests of these
/// functions do not come by it.
#[inline(never)] // As `units`.
fn lost(dmar: &Dmar<'_>, built: &[usize], rest: &Drhd<'_>) -> Result<KVec<OwnedScopes>> {
    let mut lost = KVec::new();
    for s in dmar.structures().flatten() {
        match s {
            Structure::Drhd(other)
                if rest.takes_rest
                    && !other.takes_rest
                    && other.segment == rest.segment
                    && !built.contains(&other.offset) =>
            {
                lost.push(OwnedScopes::copy(&other.scopes())?, GFP_KERNEL)?;
            }
            _ => {}
        }
    }
    Ok(lost)
}

fn build(
    index: usize,
    number: usize,
    drhd: &Drhd<'_>,
    lost: KVec<OwnedScopes>,
) -> Result<Arc<Unit>> {
    for error in drhd.scopes().filter_map(|s| s.err()) {
        pr_warn!("{}; what it names is not known\n", Show(error));
    }
    if !pci_topology::all().any(|dev| dev.segment() == drhd.segment) {
        pr_err!(
            "unit at {:#x}: there is no PCI segment {:04x}\n",
            drhd.base,
            drhd.segment
        );
        return Err(ENODEV);
    }
    let hw = Hardware::find(drhd)?;
    Arc::pin_init(Unit::new(index, number, drhd, lost, hw), GFP_KERNEL)
}

/// Starts the units. If one does not start, all are as they were found.
fn run<F: VtdFormat>(
    memory: KVec<Memory>,
    units: KVec<Arc<Unit>>,
    params: params::Params,
) -> Result<Arc<Iommu<VtD<F>>>> {
    let family = VtD {
        memory,
        _format: PhantomData,
    };
    let nr_domains = units.iter().map(|u| u.hw.caps.nr_domains).min();
    // With intel_iommu=off the kernel does not ask for ACS before it looks for devices; where some
    // is on, somebody did.
    let acs = match params.acs {
        params::Acs::On => true,
        params::Acs::Keep => false,
        params::Acs::Auto => !acs::is_on_anywhere(),
    };
    let iommu = Iommu::new(family, units, params, nr_domains.unwrap_or(0), acs)?;
    leave_devices_in_use(&iommu.family, &iommu.units, |unit| iommu.identity(unit))?;
    for unit in iommu.units.iter() {
        unit.start().inspect_err(|e| {
            pr_err!("{}: does not start ({:?})\n", unit.text(), e);
        })?;
        pr_info!(
            "{}: at {:#x}, {}\n",
            unit.text(),
            unit.hw.phys(),
            Show(unit.hw.caps)
        );
    }
    Ok(iommu)
}

/// Memory that firmware wants devices to reach at all times.
#[inline(never)] // As `units`.
fn required_memory(dmar: &Dmar<'_>) -> Result<KVec<Memory>> {
    let mut list = KVec::new();
    for s in dmar.structures().flatten() {
        if let Structure::Rmrr(rmrr) = s {
            if !Required::is_plausible(rmrr.memory) {
                continue;
            }
            let memory = Memory {
                segment: rmrr.segment,
                range: rmrr.memory,
                scopes: OwnedScopes::copy(&rmrr.scopes())?,
            };
            list.push(memory, GFP_KERNEL)?;
        }
    }
    Ok(list)
}

/// Requests the units' interrupts. A unit without one works, but its faults are not seen.
pub(super) fn interrupts<F: VtdFormat>(iommu: &Arc<Iommu<VtD<F>>>) -> Result<Lines<F>> {
    let mut lines = KVec::new();
    for unit in iommu.units.iter() {
        let handler = Faults {
            iommu: iommu.clone(),
            unit: unit.clone(),
        };
        let handler = Arc::new(handler, GFP_KERNEL)?;
        match UnitLine::new(c"rust_iommu", handler) {
            Ok(line) => lines.push(line, GFP_KERNEL)?,
            Err(e) => pr_warn!(
                "{}: no interrupt ({:?}); faults are not reported\n",
                unit.text(),
                e
            ),
        }
    }
    Ok(lines)
}
