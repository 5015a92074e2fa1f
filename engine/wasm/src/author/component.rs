//! A core module as a component of the plugin package. It does not know who compiled the module.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::contract::World;

/// The plugin package.
pub(super) const WIT: &str = include_str!("../../../../plugins/wit/plugin.wit");

/// How compilers call the section of a module that says which world it is of.
const METADATA: &[u8] = b"component-type";

/// Wraps `module` as a component of `world`. A module that says itself which world it is of is taken at its word.
///
/// # Errors
/// What keeps the module from being a component of that world.
pub(super) fn wrap(mut module: Vec<u8>, world: World) -> Result<Vec<u8>, String> {
    if !module.windows(METADATA.len()).any(|bytes| bytes == METADATA) {
        embed(&mut module, world)?;
    }
    let explain = |error: String| match error.contains("wasi_snapshot_preview1") {
        true => format!(
            "it calls functions of the C library that need a system (files, clock, console, randomness), and a plugin has \
             none: {error}"
        ),
        false => format!("it is no component of the world `{}`: {error}", world.name()),
    };
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| explain(format!("{error:#}")))
}

/// Writes into the module which world it is of.
fn embed(module: &mut Vec<u8>, world: World) -> Result<(), String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("plugin.wit", WIT).map_err(|error| format!("{error:#}"))?;
    let id = resolve.select_world(&[package], Some(world.name())).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(module, &resolve, id, StringEncoding::UTF8).map_err(|error| format!("{error:#}"))
}
