//! Everything that can be said about a plugin file without running it over records.

use std::path::Path;

use ruminate_flow::digest::Digest;
use ruminate_flow::record::Schema;
use serde_json::Value as Json;
use wit_parser::WorldItem;
use wit_parser::decoding::{DecodedWasm, decode};

use super::error::AuthorError;
use super::trial::{Limits, Trial, TrialError};
use crate::host::{self, Description};

/// What a plugin file is.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it says about itself.
    pub description: Description,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports: functions, and for an interface its functions, `lifecycle.describe`.
    pub exports: Vec<String>,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 digest of the file.
    pub digest: Digest,
    /// The fields that it reads and writes with the config; `Err`: why it refuses that config.
    pub fields: Result<(Schema, Schema), String>,
}

/// What the plugin in `path` is, and what it reads and writes with `config`.
///
/// # Errors
/// A file that is no plugin.
pub fn facts(path: &Path, config: &Json) -> Result<Facts, AuthorError> {
    let bytes = std::fs::read(path).map_err(AuthorError::unreadable(path))?;
    let shown = path.display();
    let description =
        host::inspect(path).map_err(|error| AuthorError::Input(format!("`{shown}` is no plugin: {error}")))?;
    let (imports, exports) = names(&bytes)
        .map_err(|fault| AuthorError::Input(format!("`{shown}` is no plugin: its types cannot be read: {fault}")))?;
    let fields = match Trial::open(path, config.clone(), Limits::default()) {
        Ok(trial) => Ok((trial.reads().clone(), trial.writes().clone())),
        Err(TrialError::Refused(complaints)) => Err(complaints.join("\n")),
        Err(TrialError::Author(error)) => return Err(error),
    };
    Ok(Facts { description, imports, exports, bytes: bytes.len() as u64, digest: Digest::of(&bytes), fields })
}

/// The names of what a component imports and exports.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let decoded = decode(bytes).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err("it holds a package of interfaces, not a component".to_owned());
    };
    let world = resolve.worlds.get(world).ok_or("it has no world")?;
    // Types alone are no capability: only what can be called is told.
    let imports = world.imports.iter().filter(|(_, item)| match item {
        WorldItem::Interface { id, .. } => !resolve.interfaces[*id].functions.is_empty(),
        WorldItem::Function(_) => true,
        WorldItem::Type { .. } => false,
    });
    let imports = imports.map(|(key, _)| resolve.name_world_key(key)).collect();
    let mut exports = Vec::new();
    for (key, item) in &world.exports {
        match item {
            WorldItem::Interface { id, .. } => {
                let interface = &resolve.interfaces[*id];
                let name = interface.name.clone().unwrap_or_else(|| resolve.name_world_key(key));
                exports.extend(interface.functions.keys().map(|function| format!("{name}.{function}")));
            }
            WorldItem::Function(_) => exports.push(resolve.name_world_key(key)),
            WorldItem::Type { .. } => {}
        }
    }
    Ok((imports, exports))
}
