// SPDX-License-Identifier: GPL-2.0

//! The machine: the driver, its registration with the core, and the notices of drivers that come
//! and go.

use iommu_core::id::{
    Rid,
    Sbdf, //
};
use kernel::{
    device,
    error::code::*,
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    ThisModule, //
};
use kernel_iommu::{
    bus_notifier::{
        Event,
        Listener, //
    },
    control::Control,
    iommu::{
        group::Group,
        ops::Registration, //
    },
    pci_topology::{
        self,
        PciDev, //
    },
    shrinker::Shrink,
    syscore::PowerListener, //
};

use crate::{
    device::Device,
    family::{
        Family,
        Unit, //
    },
    glue::Show,
    group::{
        self,
        Groups, //
    },
    iommu::Iommu,
    refusal::Refusal, //
};

/// A driver whose units run, of any family.
pub(crate) trait Running: Send + Sync {
    /// The probed devices.
    fn devices(&self) -> &Mutex<KVec<Arc<Device>>>;
    /// The groups.
    fn groups(&self) -> &Groups;
    /// The alias firmware gives a requester ID.
    fn firmware_alias(&self, id: Sbdf) -> Option<Rid>;
    /// A driver is about to be probed: who serves its DMA API is chosen.
    fn before_driver(&self, dev: &device::Device);
    /// A driver is gone.
    fn after_driver(&self, dev: &device::Device);
    /// Why a function is not translated; `None`: it is, or could be. Sleeps.
    fn why_untranslated(&self, dev: &PciDev) -> Option<Refusal>;
    /// Describes the calls that map and unmap in a device's domain, if all of them are the device's.
    fn show_core_calls(&self, dev: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Describes the units.
    fn show_units(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Describes the domains' addresses.
    fn show_domains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Leaf tables that empty chunks hold; 0 where that cannot be told now. Does not sleep for long.
    fn count_spare_tables(&self) -> usize;
    /// Frees so many of them at most. Returns their number.
    fn free_spare_tables(&self, most: usize) -> usize;
    /// Shows their faults.
    fn show_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Stops all units. Any context.
    fn stop(&self);
    /// Starts all units again that were without power. Any context.
    fn resume(&self);
}

/// What is released together; the devices go on drop.
trait Live: Send {
    /// Probes again what was left alone.
    fn rescan(&self) -> Result;
}

/// First the devices, then the interrupts (fields drop in order).
struct Registered<F: Family> {
    registration: Registration<Iommu<F>>,
    _lines: F::Lines,
}

impl<F: Family> Live for Registered<F> {
    fn rescan(&self) -> Result {
        self.registration.rescan()
    }
}

/// The machine.
#[pin_data]
pub(crate) struct Machine {
    pub(crate) driver: Arc<dyn Running>,
    #[pin]
    live: Mutex<Option<KBox<dyn Live>>>,
}

impl Machine {
    /// Registers a driver whose units run: the core probes all devices during this call.
    ///
    /// # Errors
    ///
    /// What the core returns. The units stop when the last reference to the driver goes.
    pub(crate) fn new<F: Family>(
        module: &'static ThisModule,
        iommu: Arc<Iommu<F>>,
    ) -> Result<Arc<Self>> {
        let lines = F::interrupts(&iommu)?;
        let mut registration = Registration::new(module, iommu.clone())?;
        for unit in iommu.units.iter() {
            let function = unit.function();
            let parent = function.as_ref().map(|pdev| pdev.device());
            let attributes = F::attributes(&iommu.units, unit);
            registration.add(unit.clone(), parent, unit.name(), attributes)?;
        }
        registration.register()?;
        let live: KBox<dyn Live> = KBox::new(
            Registered {
                registration,
                _lines: lines,
            },
            GFP_KERNEL,
        )?;
        let driver: Arc<dyn Running> = iommu;
        Arc::pin_init(
            pin_init!(Self {
                driver,
                live <- new_mutex!(Some(live)),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes everything apart, at the end of the module or after a failed start.
    pub(crate) fn shut_down(&self) {
        drop(self.live.lock().take());
        self.driver.stop();
    }
}

impl Control for Machine {
    /// Hands the units back: every device is released, translation is switched off.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: a translated device has a driver; the log names it.
    /// - `ENODEV`: released already.
    fn release(&self) -> Result {
        let mut live = self.live.lock();
        if live.is_none() {
            return Err(ENODEV);
        }
        for dev in pci_topology::all() {
            if dev.has_driver() && Group::of(dev.device()).is_some() {
                pr_err!(
                    "release: {} has a driver; unbind it first\n",
                    Show(group::sbdf(&dev))
                );
                return Err(EBUSY);
            }
        }
        // The registration goes first: it releases the devices, whose entries are blocked then.
        drop(live.take());
        self.driver.stop();
        self.driver.groups().restore_acs();
        pr_info!("units released; DMA is not translated any more\n");
        Ok(())
    }
}

impl Listener for Machine {
    fn notify(&self, dev: &device::Device, event: Event) {
        match event {
            Event::Bind => self.driver.before_driver(dev),
            Event::Unbound => {
                self.driver.after_driver(dev);
                self.adopt(dev);
            }
            Event::Removed => self.driver.groups().forget(),
        }
    }
}

impl Shrink for Machine {
    fn count(&self) -> usize {
        self.driver.count_spare_tables()
    }

    fn scan(&self, most: usize) -> usize {
        self.driver.free_spare_tables(most)
    }
}

impl PowerListener for Machine {
    fn resume(&self) {
        self.driver.resume();
    }

    /// Another kernel finds the units as firmware left them.
    fn shutdown(&self) {
        self.driver.stop();
    }
}

impl Machine {
    /// A driver that was there before us is gone: its device can be translated now.
    fn adopt(&self, dev: &device::Device) {
        let is_new = PciDev::from_device(dev).is_some() && Group::of(dev).is_none();
        if !is_new {
            return;
        }
        // Somebody who releases the units right now does not want the device adopted.
        let Some(live) = self.live.try_lock() else {
            return;
        };
        if let Some(live) = &*live {
            if let Err(e) = live.rescan() {
                pr_err!("cannot look for devices again: {:?}\n", e);
            }
        }
    }
}
