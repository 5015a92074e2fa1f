//! The kinds that the engine itself supplies.

mod read;
mod write;

use crate::stage::Kind;

/// The kinds of this crate, for [`crate::stage::Registry::new`].
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Box::new(read::Read), Box::new(write::Write)]
}
