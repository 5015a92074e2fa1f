//! Components turned into machine code. It does not know what a component is for.

use ruminate_flow::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::call;
use crate::contract;
use crate::error::PluginError;

/// The machine code of the component whose bytes have this `digest`; `read` gives them.
///
/// # Errors
/// What `read` says, and bytes that are no component.
pub(crate) fn component(
    engine: &Engine,
    _digest: Digest,
    read: &dyn Fn() -> Result<Vec<u8>, PluginError>,
) -> Result<Component, PluginError> {
    let bytes = read()?;
    contract::check_header(&bytes)?;
    Component::new(engine, &bytes)
        .map_err(|error| PluginError::NotAComponent(format!("file is damaged or not valid: {}", call::causes(&error))))
}
