// SPDX-License-Identifier: GPL-2.0

//! From firmware's table to running units.

use iommu_core::{
    acpi::ivrs::{
        Block,
        Entry,
        Ivhd,
        Ivrs,
        Target as Users, //
    },
    id::Rid, //
};
use kernel::{
    error::code::*,
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    acpi_table::AcpiTable,
    hw_pages::memory_is_encrypted,
    irq_line::MsiLine, //
};

use super::{
    events::Events,
    hardware,
    unit::Unit,
    AmdVi, //
};
use crate::{
    device::Required,
    domain::MAX_UNITS,
    family::{
        Target,
        Unit as _, //
    },
    glue::Show,
    iommu::{
        leave_devices_in_use,
        Iommu, //
    },
    params, //
};

/// The interrupts of all units.
pub(crate) type Lines = KVec<MsiLine<Events>>;

/// Finds and starts all units that firmware describes. Devices that are in use stay untranslated.
///
/// # Errors
///
/// - `ENODEV`: no table, or no unit that can be driven; all hardware is as it was.
/// - `EBUSY`: the C driver has the hardware.
/// - `ENOMEM`.
pub(crate) fn find(params: params::Params) -> Result<Arc<Iommu<AmdVi>>> {
    let table = AcpiTable::get(b"IVRS").ok_or(ENODEV)?;
    let ivrs = Ivrs::parse(table.bytes()).map_err(|e| {
        pr_err!("{}; no AMD-Vi unit is touched\n", Show(e));
        ENODEV
    })?;
    if memory_is_encrypted() {
        pr_err!("memory encryption is active, which this driver does not support; boot with mem_encrypt=off\n");
        return Err(ENODEV);
    }
    let family = AmdVi {
        required: required_regions(&ivrs)?,
    };
    let mut units = KVec::new();
    for (number, ivhd) in ivrs.units().enumerate() {
        let ivhd = match ivhd {
            Ok(ivhd) => ivhd,
            Err(e) => {
                pr_err!("{}\n", Show(e));
                continue;
            }
        };
        if units.len() >= MAX_UNITS {
            pr_err!("more than {} units; the rest is left alone\n", MAX_UNITS);
            break;
        }
        match bring_up(units.len(), number, &ivhd, &family) {
            Ok(unit) => units.push(unit, GFP_KERNEL)?,
            Err(e) if e == EBUSY => {
                pr_err!("the C driver owns the IOMMU; boot with amd_iommu=off to use this one\n");
                return Err(EBUSY);
            }
            // Some other time all units can be driven.
            Err(e) if e == ENOMEM => return Err(ENOMEM),
            Err(e) => pr_err!(
                "unit {} at {:#x} cannot be driven ({:?}); its devices stay untranslated\n",
                Show(ivhd.unit),
                ivhd.base,
                e
            ),
        }
    }
    if units.is_empty() {
        pr_err!("IVRS: no unit that can be driven\n");
        return Err(ENODEV);
    }
    Iommu::new(
        family,
        units,
        params,
        1 << 16,
        // The kernel looks for an IVRS before it looks for devices, and switches ACS on itself,
        // amd_iommu=off or not: what is off was switched off.
        params.acs == params::Acs::On,
    )
}

/// Requests the units' interrupts. A unit without one works, but its faults are not seen.
pub(super) fn interrupts(driver: &Arc<Iommu<AmdVi>>) -> Result<Lines> {
    let mut lines = KVec::new();
    for unit in driver.units.iter() {
        let line = unit.function().ok_or(ENODEV).and_then(|pdev| {
            let handler = Arc::new(
                Events {
                    driver: driver.clone(),
                    unit: unit.clone(),
                },
                GFP_KERNEL,
            )?;
            MsiLine::new(pdev, c"rust_iommu", handler)
        });
        match line {
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

/// Memory that firmware wants devices to reach at all times. An exclusion range is treated as a
/// region to map: it asks for the same access.
fn required_regions(ivrs: &Ivrs<'_>) -> Result<KVec<(u16, Users, Required)>> {
    let mut required = KVec::new();
    for block in ivrs.blocks() {
        match block {
            Ok(Block::Ivmd(m)) => {
                let (read, write) = if m.flags.exclusion() {
                    (true, true)
                } else {
                    (m.flags.read(), m.flags.write())
                };
                let asked = m.flags.unity() || m.flags.exclusion();
                if !asked || !Required::is_plausible(m.memory) {
                    continue;
                }
                let r = Required {
                    memory: m.memory,
                    read,
                    write,
                    relaxable: false,
                };
                required.push((m.segment, m.target, r), GFP_KERNEL)?;
            }
            Ok(Block::Unknown { .. }) | Ok(Block::Ivhd(_)) => {}
            // Said once, by the walk over the units.
            Err(e) if e.ends_blocks() => break,
            Err(e) => pr_warn!("{}; the block is ignored\n", Show(e)),
        }
    }
    Ok(required)
}

/// Builds, fills and starts one unit.
fn bring_up(index: usize, number: usize, ivhd: &Ivhd<'_>, family: &AmdVi) -> Result<Arc<Unit>> {
    let found = hardware::find(ivhd)?;
    let unit = Arc::pin_init(Unit::new(index, number, ivhd, found), GFP_KERNEL)?;
    for range in unit.ranges.iter() {
        for rid in range.first.0..=range.last.0 {
            unit.preset(Rid(rid), &Target::Blocked)?;
        }
    }
    leave_named_devices(&unit, ivhd)?;
    leave_devices_in_use(family, core::slice::from_ref(&unit), |_| {
        Ok(Target::Identity)
    })?;
    unit.start()?;
    pr_info!(
        "{}: {} at {:#x}, {}{}\n",
        unit.text(),
        Show(unit.id),
        unit.hw.regs.phys(),
        Show(unit.features),
        if unit.np_cache {
            ", caches absent entries"
        } else {
            ""
        }
    );
    Ok(unit)
}

/// Devices that ACPI names and no bus numbers are not translated: passed through.
fn leave_named_devices(unit: &Unit, ivhd: &Ivhd<'_>) -> Result {
    // What is wrong with other entries is said where their ranges are read.
    for entry in ivhd.entries().flatten() {
        if let Entry::AcpiHid { rid, .. } = entry {
            unit.preset(rid, &Target::Identity)?;
        }
    }
    Ok(())
}
