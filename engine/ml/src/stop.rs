//! A request to stop, as long work asks for it: between tokens, micro-batches and tensors. Knows not who stops it and why.

use crate::{Error, Result};

/// Says whether the work that holds it should be given up.
#[derive(Clone, Copy, Default)]
pub struct Stop<'a>(Option<&'a (dyn Fn() -> bool + Sync)>);

impl<'a> Stop<'a> {
    /// Work that is never given up.
    pub const NEVER: Stop<'static> = Stop(None);

    /// Work that is given up once `requested` says so. It is asked often and from several threads, so it should be cheap.
    pub fn when(requested: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Stop(Some(requested))
    }

    /// Whether to give up.
    pub fn requested(self) -> bool {
        self.0.is_some_and(|requested| requested())
    }

    /// Goes on, or gives up.
    ///
    /// # Errors
    /// [`Error::Stopped`] once a stop was requested.
    pub fn check(self) -> Result<()> {
        if self.requested() { Err(Error::Stopped) } else { Ok(()) }
    }
}
