//! `ruminate model init`: a model folder with random weights, of any size in little memory.

use std::io::Write;

use ruminate_flow::event::Cancel;

use crate::arguments::InitArguments;
use crate::failure::Failure;
use crate::format::{bytes, count};
use crate::interrupt::Watch;
use crate::registry;
use crate::terminal;

/// Writes the folder. Interrupted, it leaves nothing.
///
/// # Errors
/// A configuration that cannot be used, a folder that holds something, a disk that cannot be written, an interrupt.
pub(super) fn init(arguments: &InitArguments) -> Result<(), Failure> {
    let cancel = Cancel::default();
    Watch::install()?.begin(cancel.clone(), terminal::say, || {});
    let (parameters, written) = registry::init_model(arguments, &|| cancel.requested())?;
    let shown = arguments.output.display();
    writeln!(terminal::stdout(), "{shown}: {} parameters, {}", count(parameters), bytes(written))?;
    Ok(())
}
