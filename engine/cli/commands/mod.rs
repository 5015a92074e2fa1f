//! The commands, one file each, and the choice between them.

mod chat;
mod check;
mod export;
mod kinds;
mod model;
mod model_init;
mod plan;
mod plugin;
mod results;
mod run;
mod show;
mod store;
mod trace;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

/// Does what the command line asks for.
///
/// # Errors
/// Whatever keeps the command from being done; it decides the exit code.
pub(crate) fn execute(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Chat(arguments) => chat::chat(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Results(arguments) => results::results(&arguments),
        Command::Show(arguments) => show::show(&arguments),
        Command::Export(arguments) => export::export(&arguments),
        Command::Kinds(arguments) => kinds::kinds(&arguments),
        Command::Trace(arguments) => trace::trace(&arguments),
        Command::Plugin(command) => plugin::plugin(&command),
        Command::Model(command) => model::model(&command),
        Command::Store(command) => store::store(&command),
    }
}
