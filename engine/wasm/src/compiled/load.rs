//! The one call that runs machine code out of a file. It does not know where the file is kept or how it was verified.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

use super::entry::Verified;

/// The component whose machine code `code` holds, mapped into memory.
///
/// # Errors
/// Code of another engine or machine, and a file that is gone.
pub(super) fn load(engine: &Engine, code: &Verified) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime asks that the file holds what `Component::serialize` gave and does not change while it is mapped. A
    // `Verified` is made only of a file in a folder that none but this user can write (`Folder`), whose bytes have the BLAKE3
    // digest that was recorded when `serialize` gave them (`Entry::load`). Such files are replaced by renaming and never
    // written in place, so the mapping keeps its bytes. Whoever can break this can already run code as this user.
    unsafe { Component::deserialize_file(engine, code.path()) }
}
