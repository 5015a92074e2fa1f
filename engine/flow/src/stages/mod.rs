//! The kinds that the engine itself supplies.

mod concat;
mod condition;
mod fields;
mod join;
mod read;
mod sample;
mod select;
mod shuffle;
mod r#where;
mod write;

use crate::stage::Kind;

/// The kinds of this crate, for [`crate::stage::Registry::new`].
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![
        Box::new(read::Read),
        Box::new(write::Write),
        Box::new(select::Select),
        Box::new(r#where::Where),
        Box::new(sample::Sample),
        Box::new(shuffle::Shuffle),
        Box::new(concat::Concat),
        Box::new(join::Join),
    ]
}

#[cfg(test)]
mod tests;
