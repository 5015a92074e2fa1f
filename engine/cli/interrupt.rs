//! Ctrl-C and SIGTERM: the first asks the run to stop with everything saved, the second leaves at once.

use ruminate_flow::event::Cancel;

use crate::failure::Failure;

/// The exit code of an interrupted run, as shells give it.
const INTERRUPTED: i32 = 130;

/// From here on, the first signal requests `cancel` and the second ends the process. `say` shows a line to the person;
/// `leave` is called right before the end.
///
/// # Errors
/// The system's, if no handler can be installed.
pub(crate) fn watch(
    cancel: Cancel,
    say: impl Fn(&str) + Send + 'static,
    leave: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    let handler = move || {
        if cancel.requested() {
            leave();
            std::process::exit(INTERRUPTED);
        }
        cancel.request();
        say("stopping: work in flight finishes and is kept; interrupt again to leave at once");
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Failed(format!("cannot watch for Ctrl-C: {error}")))
}
