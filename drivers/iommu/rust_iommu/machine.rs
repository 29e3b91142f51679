// SPDX-License-Identifier: GPL-2.0

//! The machine: the driver, its registration with the core, and the notices of drivers that come
//! and go.

use kernel::{
    device::Device,
    error::code::*,
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
    iommu::{
        group::Group,
        ops::Registration, //
    },
    pci_topology::{
        self,
        PciDev, //
    }, //
};

use crate::{
    amd_vi::{
        self,
        AmdVi, //
    },
    glue::Show,
    group, //
};

/// What is released together: first the devices, then the interrupts (fields drop in order).
struct Live {
    registration: Registration<AmdVi>,
    _lines: amd_vi::Lines,
}

/// The machine.
#[pin_data]
pub(crate) struct Machine {
    pub(crate) driver: Arc<AmdVi>,
    #[pin]
    live: Mutex<Option<Live>>,
}

impl Machine {
    /// Registers a driver whose units run: the core probes all devices during this call.
    ///
    /// # Errors
    ///
    /// What the core returns. The units stop when the last reference to the driver goes.
    pub(crate) fn new(module: &'static ThisModule, driver: Arc<AmdVi>) -> Result<Arc<Self>> {
        let live = Self::register(module, &driver)?;
        Arc::pin_init(
            pin_init!(Self {
                driver,
                live <- new_mutex!(Some(live)),
            }),
            GFP_KERNEL,
        )
    }

    fn register(module: &'static ThisModule, driver: &Arc<AmdVi>) -> Result<Live> {
        let lines = amd_vi::interrupts(driver)?;
        let mut registration = Registration::new(module, driver.clone())?;
        for unit in driver.units.iter() {
            registration.add(unit.clone(), &unit.name)?;
        }
        registration.register()?;
        Ok(Live {
            registration,
            _lines: lines,
        })
    }

    /// Hands the units back: every device is released, translation is switched off.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: a translated device has a driver; the log names it.
    /// - `ENODEV`: released already.
    pub(crate) fn release(&self) -> Result {
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
        self.driver.groups.restore_acs();
        pr_info!("units released; DMA is not translated any more\n");
        Ok(())
    }

    /// Takes everything apart, at the end of the module or after a failed start.
    pub(crate) fn shut_down(&self) {
        drop(self.live.lock().take());
        self.driver.stop();
    }
}

impl Listener for Machine {
    fn notify(&self, dev: &Device, event: Event) {
        match event {
            Event::Bind => self.driver.choose_dma(dev),
            Event::Unbound => self.adopt(dev),
            Event::Removed => self.driver.groups.forget(),
        }
    }
}

impl Machine {
    /// A driver that was there before us is gone: its device can be translated now.
    fn adopt(&self, dev: &Device) {
        let is_new = PciDev::from_device(dev).is_some() && Group::of(dev).is_none();
        if !is_new {
            return;
        }
        // Somebody who releases the units right now does not want the device adopted.
        let Some(live) = self.live.try_lock() else {
            return;
        };
        if let Some(live) = &*live {
            if let Err(e) = live.registration.rescan() {
                pr_err!("cannot look for devices again: {:?}\n", e);
            }
        }
    }
}
