//! The kinds that the engine itself supplies.

use crate::stage::Kind;

/// The kinds of this crate, for [`crate::stage::Registry::new`].
pub fn kinds() -> Vec<Box<dyn Kind>> {
    Vec::new()
}
