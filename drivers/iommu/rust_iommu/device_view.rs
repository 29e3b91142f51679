// SPDX-License-Identifier: GPL-2.0

//! The devices as people read them: what each is attached to, who serves its DMA API, and why others
//! are not translated.

use kernel::{
    fmt,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};
use kernel_iommu::{
    iommu::{
        dma_ops::Server,
        group::Group, //
    },
    pci_topology::{
        self,
        PciDev, //
    }, //
};

use crate::{
    device::{
        Device,
        State, //
    },
    group,
    machine::Machine, //
};

/// A line for each PCI function: those that the driver has first.
pub(crate) fn text(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for d in m.driver.devices().lock().iter() {
        device(m, d, f)?;
    }
    for dev in pci_topology::all() {
        if Group::of(dev.device()).is_some() {
            continue;
        }
        if let Some(why) = m.driver.why_untranslated(&dev) {
            writeln!(f, "{} untranslated: {}", group::sbdf(&dev), why)?;
        }
    }
    Ok(())
}

fn device(m: &Machine, d: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let dev = PciDev::find(d.id.segment, d.id.rid.bus(), d.id.rid.devfn());
    let group = dev
        .as_ref()
        .and_then(|dev| Group::of(dev.device()))
        .map_or(-1, |g| g.id());
    write!(f, "{} group {} domain ", d.id, group)?;
    let state = d.state();
    match state {
        State::Blocked => write!(f, "blocked")?,
        State::Identity => write!(f, "identity")?,
        State::Paging(did) => write!(f, "paging:{}", did)?,
    }
    let server = dev.map(|dev| Server::of(dev.device()));
    write!(f, " served by ")?;
    match (state, server) {
        (State::Paging(_), _) if d.is_assigned() => {
            write!(f, "user ")?;
            m.driver.show_core_calls(d, f)?;
        }
        (State::Paging(_), Some(Server::Driver)) => write!(f, "rust {}", d.calls)?,
        (State::Paging(_), Some(Server::Core)) => {
            write!(f, "core ")?;
            m.driver.show_core_calls(d, f)?;
        }
        (State::Identity, _) => write!(f, "dma-direct maps - unmaps -")?,
        _ => write!(f, "nobody maps - unmaps -")?,
    }
    writeln!(f, " faults {}", d.faults.load(Relaxed))
}
