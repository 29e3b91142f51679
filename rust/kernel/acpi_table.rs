// SPDX-License-Identifier: GPL-2.0

//! ACPI tables as byte slices.
//!
//! C header: [`include/acpi/acpixf.h`](srctree/include/acpi/acpixf.h)

use core::ptr::NonNull;

use kernel::bindings;

/// A mapped ACPI table.
///
/// # Invariants
///
/// `ptr` points at a table that ACPICA keeps mapped, whole, until `acpi_put_table` is called.
pub struct AcpiTable {
    ptr: NonNull<bindings::acpi_table_header>,
}

impl AcpiTable {
    /// Maps the first table with `signature`, or returns [`None`] if firmware has none.
    ///
    /// ACPICA has checked the checksum only if the kernel was told to; the content is whatever
    /// firmware wrote.
    #[cfg(CONFIG_ACPI)]
    pub fn get(signature: &[u8; 4]) -> Option<Self> {
        let mut name = [0 as kernel::ffi::c_char; 5];
        for (to, from) in name.iter_mut().zip(signature) {
            // CAST: the same byte, whatever the sign of `c_char`.
            *to = *from as kernel::ffi::c_char;
        }
        let mut ptr = core::ptr::null_mut();
        // SAFETY: `name` is NUL-terminated and both pointers are valid during the call.
        let status = unsafe { bindings::acpi_get_table(name.as_mut_ptr(), 1, &mut ptr) };
        if status != 0 {
            return None;
        }
        // INVARIANT: ACPICA has just mapped the table and counts this use.
        NonNull::new(ptr).map(|ptr| Self { ptr })
    }

    /// Without ACPI there are no tables.
    #[cfg(not(CONFIG_ACPI))]
    pub fn get(_signature: &[u8; 4]) -> Option<Self> {
        None
    }

    /// The whole table with its header, as long as the header says.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: by the type invariant the header is mapped.
        let len = unsafe { (*self.ptr.as_ptr()).length };
        // CAST: u32 fits usize on every machine with ACPI.
        // SAFETY: by the type invariant `len` bytes are mapped; ACPICA does not write to them.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr().cast::<u8>(), len as usize) }
    }
}

#[cfg(CONFIG_ACPI)]
impl Drop for AcpiTable {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `acpi_get_table` and is put once.
        unsafe { bindings::acpi_put_table(self.ptr.as_ptr()) };
    }
}
