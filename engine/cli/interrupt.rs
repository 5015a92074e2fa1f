//! Ctrl-C and SIGTERM: the first asks the run to stop with everything saved, the second leaves at once.

use std::sync::{Arc, OnceLock};

use ruminate_flow::event::Cancel;

use crate::failure::Failure;

/// The exit code of an interrupted run, as shells give it.
const INTERRUPTED: i32 = 130;

/// What signals do: until [`Watch::begin`], when nothing is under way that could be lost, they end the process.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<OnceLock<Begun>>);

struct Begun {
    cancel: Cancel,
    say: Box<dyn Fn(&str) + Send + Sync>,
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Watch {
    /// Installs the handler.
    ///
    /// # Errors
    /// The system's, if no handler can be installed.
    pub(crate) fn install() -> Result<Self, Failure> {
        let watch = Self::default();
        let state = watch.clone();
        let handler = move || {
            let Some(begun) = state.0.get() else { std::process::exit(INTERRUPTED) };
            if begun.cancel.requested() {
                (begun.leave)();
                std::process::exit(INTERRUPTED);
            }
            begun.cancel.request();
            (begun.say)("stopping: work in flight finishes and is kept; interrupt again to leave at once");
        };
        ctrlc::set_handler(handler).map_err(|error| Failure::Failed(format!("cannot watch for Ctrl-C: {error}")))?;
        Ok(watch)
    }

    /// From here on, the first signal requests `cancel` and the second ends the process. `say` shows a line to the person;
    /// `leave` is called right before the end.
    pub(crate) fn begin(
        &self,
        cancel: Cancel,
        say: impl Fn(&str) + Send + Sync + 'static,
        leave: impl Fn() + Send + Sync + 'static,
    ) {
        // There is one run in a process: a second beginning would change nothing.
        let _ = self.0.set(Begun { cancel, say: Box::new(say), leave: Box::new(leave) });
    }
}
