// SPDX-License-Identifier: GPL-2.0

//! debugfs: what the driver does, in text. One folder, `rust_iommu/`.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

use crate::{
    device_view,
    group_view,
    machine::Machine, //
};

type Entry = Pin<KBox<File<Arc<Machine>>>>;

/// The files; gone on drop.
pub(crate) struct Files {
    _files: [Entry; 6],
    _dir: Dir,
}

impl Files {
    /// Makes the folder.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(machine: &Arc<Machine>) -> Result<Self> {
        let dir = Dir::new(c"rust_iommu");
        let m = || machine.clone();
        let files = [
            KBox::pin_init(dir.read_callback_file(c"units", m(), &units), GFP_KERNEL)?,
            KBox::pin_init(
                dir.read_callback_file(c"devices", m(), &device_view::text),
                GFP_KERNEL,
            )?,
            KBox::pin_init(
                dir.read_callback_file(c"groups", m(), &group_view::text),
                GFP_KERNEL,
            )?,
            KBox::pin_init(
                dir.read_callback_file(c"groups.json", m(), &group_view::json),
                GFP_KERNEL,
            )?,
            KBox::pin_init(
                dir.read_callback_file(c"domains", m(), &domains),
                GFP_KERNEL,
            )?,
            KBox::pin_init(dir.read_callback_file(c"faults", m(), &faults), GFP_KERNEL)?,
        ];
        Ok(Self {
            _files: files,
            _dir: dir,
        })
    }
}

fn units(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    m.driver.show_units(f)
}

fn domains(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    m.driver.show_domains(f)
}

fn faults(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    m.driver.show_faults(f)
}
