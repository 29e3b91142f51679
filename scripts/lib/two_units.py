# SPDX-License-Identifier: GPL-2.0
"""A variant of the sources that presents each unit to the core as two: functions with odd numbers (devfn) are
behind the second, as are those of odd buses. QEMU has one unit a machine, real machines have up to a dozen.

Each entry is a change for scripts/mutants: in a file, a text that is there exactly once becomes another.
"""

OPS = "rust/kernel/iommu/ops.rs"
CALLBACKS = "rust/kernel/iommu/callbacks.rs"

TWO_UNITS = (
    (OPS, "    pub(super) raw: Opaque<bindings::iommu_device>,\n    #[pin]\n    facts",
     "    pub(super) raw: Opaque<bindings::iommu_device>,\n    #[pin]\n    pub(super) twin: Opaque<bindings::iommu_device>,\n"
     "    pub(super) has_twin: Atomic<bool>,\n    twin_in_sysfs: Atomic<bool>,\n    #[pin]\n    facts"),
    (OPS, "            raw <- Opaque::zeroed(),\n",
     "            raw <- Opaque::zeroed(),\n            twin <- Opaque::zeroed(),\n            has_twin: Atomic::new(false),\n            twin_in_sysfs: Atomic::new(false),\n"),
    (OPS, "        self.units.push(unit, GFP_KERNEL)?;\n        Ok(())\n",
     "        // SAFETY: as above.\n"
     "        let twin = to_result(unsafe {\n"
     "            bindings::iommu_device_sysfs_add(\n"
     "                dev.twin.get(),\n"
     "                core::ptr::null_mut(),\n"
     "                core::ptr::null_mut(),\n"
     "                c\"%s-odd\".as_char_ptr(),\n"
     "                name.as_char_ptr(),\n"
     "            )\n"
     "        });\n"
     "        dev.twin_in_sysfs.store(twin.is_ok(), Relaxed);\n"
     "        self.units.push(unit, GFP_KERNEL)?;\n"
     "        twin\n"),
    (OPS, "            .inspect_err(|_| dev.registered.store(false, Relaxed))?;\n        }\n",
     "            .inspect_err(|_| dev.registered.store(false, Relaxed))?;\n        }\n"
     "        for unit in &self.units {\n"
     "            let dev: &IommuDevice = (**unit).as_ref();\n"
     "            dev.has_twin.store(true, Release);\n"
     "            // SAFETY: as above.\n"
     "            to_result(unsafe {\n"
     "                bindings::iommu_device_register(\n"
     "                    dev.twin.get(),\n"
     "                    &raw const (*self.tables.as_ptr()).ops,\n"
     "                    core::ptr::null_mut(),\n"
     "                )\n"
     "            })\n"
     "            .inspect_err(|_| dev.has_twin.store(false, Relaxed))?;\n"
     "        }\n"),
    (OPS, "            if dev.registered.xchg(false, Full) {\n",
     "            if dev.has_twin.xchg(false, Full) {\n"
     "                // SAFETY: it is registered.\n"
     "                unsafe { bindings::iommu_device_unregister(dev.twin.get()) };\n"
     "            }\n"
     "            if dev.registered.xchg(false, Full) {\n"),
    (OPS, "            if dev.in_sysfs.xchg(false, Full) {\n",
     "            if dev.twin_in_sysfs.xchg(false, Full) {\n"
     "                // SAFETY: it was added to sysfs and is no longer registered.\n"
     "                unsafe { bindings::iommu_device_sysfs_remove(dev.twin.get()) };\n"
     "            }\n"
     "            if dev.in_sysfs.xchg(false, Full) {\n"),
    (CALLBACKS, "            let raw = unit.raw.get();\n",
     "            // SAFETY: all devices of these units are of PCI.\n"
     "            let raw = match unsafe { is_odd(dev) } {\n"
     "                true => unit.twin.get(),\n"
     "                false => unit.raw.get(),\n"
     "            };\n"),
    (CALLBACKS, "/// Calls `f` with the driver, the device and its data; `default` if there is none.\n",
     "/// # Safety\n///\n/// `dev` must be a live PCI device.\n"
     "unsafe fn is_odd(dev: *mut bindings::device) -> bool {\n"
     "    // SAFETY: by contract.\n"
     "    let pci = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };\n"
     "    // SAFETY: as above.\n"
     "    unsafe { (*pci).devfn & 1 != 0 || ((*pci).bus.as_ref()).is_some_and(|b| b.number & 1 != 0) }\n"
     "}\n\n"
     "/// Calls `f` with the driver, the device and its data; `default` if there is none.\n"),
)

# The guard, as it is with two units.
GUARD = "        if !(*unit).as_ref().is_registered() {\n"
GUARD_OF_TWO = ("        let known = (*unit).as_ref();\n"
                "        // SAFETY: all devices of these units are of PCI.\n"
                "        let of_twin = unsafe { is_odd(dev) };\n"
                "        if !(if of_twin { known.has_twin.load(kernel::sync::atomic::Acquire) } else { known.is_registered() }) {\n")
NO_GUARD = "        // SAFETY: all devices of these units are of PCI.\n        if !(*unit).as_ref().is_registered() && !unsafe { is_odd(dev) } {\n"
