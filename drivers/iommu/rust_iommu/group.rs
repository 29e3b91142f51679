// SPDX-License-Identifier: GPL-2.0

//! Takes the topology snapshot for the group engine and finds the core's group for its answer.

use crate::{
    acs::Acs,
    glue::Show, //
};
use iommu_core::{
    group::{
        nodes_needed,
        partition,
        policy::Policy,
        quirks::{
            has_wide_acs,
            isolation,
            Subject, //
        },
        BridgeQuirk,
        Function,
        Kind,
        Node,
        Reason, //
    },
    id::{
        Rid,
        Sbdf, //
    },
    sort::sort_by_key, //
};
use kernel::{
    error::code::*,
    new_mutex,
    prelude::*,
    str::CString,
    sync::Mutex, //
};
use kernel_iommu::{
    iommu::group::Group,
    pci_topology::{
        self,
        PciDev,
        PcieType, //
    }, //
};

/// The machine's PCI functions at one moment.
pub(crate) struct Snapshot {
    devs: KVVec<PciDev>,
    aliases: KVVec<KVec<Rid>>,
    policy: Policy<'static>,
}

/// The name of a function in the whole machine.
pub(crate) fn sbdf(dev: &PciDev) -> Sbdf {
    let devfn = dev.devfn();
    Sbdf {
        segment: dev.segment(),
        rid: Rid::new(dev.bus(), devfn >> 3, devfn & 7),
    }
}

const CLASS_BRIDGE_PCI: u32 = 0x0604;

/// Is the function a PCI-to-PCI bridge or port?
pub(crate) fn is_bridge(dev: &PciDev) -> bool {
    dev.class() >> 8 == CLASS_BRIDGE_PCI
}

fn kind(dev: &PciDev) -> Kind {
    match dev.pcie_type() {
        PcieType::RootPort => Kind::RootPort,
        PcieType::Upstream => Kind::UpstreamPort,
        PcieType::Downstream => Kind::DownstreamPort,
        PcieType::PcieToPci => Kind::PcieToPci,
        PcieType::PciToPcie => Kind::PciToPcie,
        PcieType::EventCollector => Kind::EventCollector,
        PcieType::Endpoint | PcieType::Integrated | PcieType::Reserved => Kind::Endpoint,
        PcieType::Conventional if is_bridge(dev) => Kind::ConventionalBridge,
        PcieType::Conventional => Kind::Conventional,
    }
}

/// Requester IDs a function's requests may carry besides its own, as far as the PCI core knows:
/// quirks, phantom functions, and the bridges above.
pub(crate) fn bus_aliases(dev: &PciDev) -> Result<KVec<Rid>> {
    let mut rids = quirk_aliases(dev)?;
    for id in function(dev, &[], None).phantoms() {
        rids.push(id.rid, GFP_KERNEL)?;
    }
    let mut at = dev.upstream();
    // The depth of a PCI hierarchy is bounded by its 256 buses.
    for _ in 0..256 {
        let Some(bridge) = at else { break };
        let f = function(&bridge, &[], None);
        if let Some(alias) = f.alias_below() {
            rids.push(alias.rid, GFP_KERNEL)?;
        }
        at = bridge.upstream();
    }
    Ok(rids)
}

/// What a DMA-alias quirk adds on the function's own bus.
fn quirk_aliases(dev: &PciDev) -> Result<KVec<Rid>> {
    let mut rids = KVec::new();
    for devfn in 0..=255u8 {
        if dev.has_alias(devfn) {
            rids.push(Rid::new(dev.bus(), devfn >> 3, devfn & 7), GFP_KERNEL)?;
        }
    }
    Ok(rids)
}

fn function<'a>(dev: &PciDev, aliases: &'a [Rid], parent: Option<usize>) -> Function<'a> {
    let flags = dev.bridge_flags();
    let (vendor, device) = dev.ids();
    Function {
        parent,
        secondary_bus: dev.secondary_bus(),
        bridge_quirk: if flags.translation_root {
            Some(BridgeQuirk::TranslationRoot)
        } else if flags.no_alias {
            Some(BridgeQuirk::NoAlias)
        } else {
            flags.pcie_alias.then_some(BridgeQuirk::PcieAlias)
        },
        multifunction: dev.is_multifunction(),
        acs: dev
            .acs(has_wide_acs(vendor, device))
            .map(|(capability, control)| iommu_core::group::Acs {
                capability,
                control,
            }),
        acs_quirk: isolation(&Subject {
            vendor,
            device,
            kind: kind(dev),
            integrated: dev.pcie_type() == PcieType::Integrated,
            on_root_bus_of_many: dev.is_multifunction() && dev.upstream().is_none(),
            enabled_by_kernel: dev.has_enabled_acs_quirk(),
        }),
        is_virtual: dev.is_virtual_function(),
        class: dev.class(),
        phantom_bits: dev.phantom_bits(),
        aliases,
        real_dma: dev.real_dma().map(|real| sbdf(&real)),
        ..Function::new(sbdf(dev), kind(dev))
    }
}

impl Snapshot {
    /// Takes a snapshot. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn take(policy: Policy<'static>) -> Result<Self> {
        let mut devs = KVVec::new();
        let mut aliases = KVVec::new();
        for dev in pci_topology::all() {
            aliases.push(quirk_aliases(&dev)?, GFP_KERNEL)?;
            devs.push(dev, GFP_KERNEL)?;
        }
        Ok(Self {
            devs,
            aliases,
            policy,
        })
    }

    /// Computes the partition and calls `each` for every requester ID with its group, then `why`
    /// for every reason. `firmware_alias` is what the unit's table says about a requester ID.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` for a topology that contradicts itself.
    pub(crate) fn partition<'a>(
        &'a self,
        firmware_alias: impl Fn(Sbdf) -> Option<Rid>,
        mut each: impl FnMut(Sbdf, Sbdf, Option<&'a PciDev>),
        why: impl FnMut(Reason),
    ) -> Result {
        let mut places = KVVec::with_capacity(self.devs.len(), GFP_KERNEL)?;
        for (at, dev) in self.devs.iter().enumerate() {
            places.push((sbdf(dev), at), GFP_KERNEL)?;
        }
        sort_by_key(&mut places, |(id, _)| *id);
        let place_of = |id: Sbdf| {
            let found = places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            places.get(found).map(|(_, at)| *at)
        };
        let mut functions = KVVec::with_capacity(self.devs.len(), GFP_KERNEL)?;
        for (dev, aliases) in self.devs.iter().zip(self.aliases.iter()) {
            let parent = dev.upstream().and_then(|up| place_of(sbdf(&up)));
            let mut f = function(dev, aliases, parent);
            f.firmware_alias = firmware_alias(f.id).filter(|a| *a != f.id.rid);
            if self.policy.hardened && f.acs_quirk == Some(true) {
                f.acs_quirk = None;
            }
            let (vendor, device) = dev.ids();
            if self.policy.asserted.covers(f.id, vendor, device) {
                f.acs_quirk = Some(true);
            }
            functions.push(f, GFP_KERNEL)?;
        }
        let mut nodes = KVVec::new();
        for _ in 0..nodes_needed(&functions) {
            nodes.push(Node::EMPTY, GFP_KERNEL)?;
        }
        let p = partition(&functions, &mut nodes, why).map_err(|e| {
            pr_err!("cannot compute groups: {:?}\n", e);
            EINVAL
        })?;
        for m in p.members() {
            each(m.id, m.group, m.function.and_then(|i| self.devs.get(i)));
        }
        Ok(())
    }
}

/// What the engine said of a requester ID.
struct Known {
    id: Sbdf,
    group: Sbdf,
    /// A function had it then. One that comes later may add to what was known of its ID alone.
    device: bool,
}

/// The answers of the engine for all requester IDs: computed once for the functions of a cold boot,
/// again for each function that comes later.
#[pin_data]
pub(crate) struct Groups {
    pub(crate) policy: Policy<'static>,
    #[pin]
    acs: Mutex<Option<Acs>>,
    #[pin]
    known: Mutex<KVVec<Known>>,
}

impl Groups {
    /// Nothing computed yet. `switch_acs_on` if it is all off.
    pub(crate) fn new(policy: Policy<'static>, switch_acs_on: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            policy,
            acs <- new_mutex!(switch_acs_on.then(Acs::new)),
            known <- new_mutex!(KVVec::new()),
        })
    }

    /// Hands ACS back as it was found, when the units are handed back.
    pub(crate) fn restore_acs(&self) {
        if let Some(acs) = &mut *self.acs.lock() {
            acs.restore();
        }
    }

    /// A function left: what is known may be too coarse from now on.
    pub(crate) fn forget(&self) {
        *self.known.lock() = KVVec::new();
    }

    /// The name of the group that `id` is in, and the functions in it. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for a topology that contradicts itself; `ENODEV` if `id` is no function.
    pub(crate) fn of(
        &self,
        id: Sbdf,
        firmware_alias: impl Fn(Sbdf) -> Option<Rid>,
    ) -> Result<(Sbdf, KVVec<PciDev>)> {
        let mut known = self.known.lock();
        let find = |known: &[Known]| {
            let at = known.binary_search_by_key(&id, |k| k.id).ok()?;
            known.get(at).filter(|k| k.device).map(|k| k.group)
        };
        let name = match find(&known) {
            Some(name) => name,
            None => {
                if let Some(acs) = &mut *self.acs.lock() {
                    acs.enable_all()?;
                }
                *known = compute(self.policy, firmware_alias)?;
                find(&known).ok_or(ENODEV)?
            }
        };
        let mut members = KVVec::new();
        for k in known.iter().filter(|k| k.group == name) {
            let (bus, devfn) = (k.id.rid.bus(), k.id.rid.devfn());
            if let Some(dev) = PciDev::find(k.id.segment, bus, devfn) {
                members.push(dev, GFP_KERNEL)?;
            }
        }
        Ok((name, members))
    }
}

/// Every requester ID with its group, in ascending order.
fn compute(
    policy: Policy<'static>,
    firmware_alias: impl Fn(Sbdf) -> Option<Rid>,
) -> Result<KVVec<Known>> {
    let snap = Snapshot::take(policy)?;
    let mut all = KVVec::with_capacity(snap.devs.len(), GFP_KERNEL)?;
    let mut pushed: Result = Ok(());
    let each = |id, group, dev: Option<&PciDev>| {
        let known = Known {
            id,
            group,
            device: dev.is_some(),
        };
        if pushed.is_ok() {
            pushed = all.push(known, GFP_KERNEL).map_err(Error::from);
        }
    };
    snap.partition(firmware_alias, each, |_| {})?;
    pushed?;
    Ok(all)
}

/// Does the core have these functions in more than one group? It cannot merge groups, so those that
/// a function joins after they were made stay apart for it.
pub(crate) fn exist_apart(members: &[PciDev]) -> bool {
    let mut ids = members
        .iter()
        .filter_map(|dev| Group::of(dev.device()).map(|g| g.id()));
    let first = ids.next();
    ids.any(|id| Some(id) != first)
}

/// Finds or makes the core's group for the device `id`: members of a group share the core's.
///
/// # Errors
///
/// As [`Groups::of`].
pub(crate) fn core_group(
    groups: &Groups,
    id: Sbdf,
    firmware_alias: impl Fn(Sbdf) -> Option<Rid>,
) -> Result<Group> {
    let (name, members) = groups.of(id, firmware_alias)?;
    if exist_apart(&members) {
        pr_warn!(
            "{}: joins groups that exist apart already; none of them can be given to user space now\n",
            Show(id)
        );
    }
    let existing = members.iter().find_map(|dev| Group::of(dev.device()));
    match existing {
        Some(g) => Ok(g),
        None => Group::new(&CString::try_from_fmt(fmt!("pci-{}", Show(name)))?),
    }
}
