//! The program: reads the arguments and hands over to a command. It knows every other crate; nothing knows it.

mod arguments;
mod commands;
mod evaluation;
mod failure;
mod files;
mod format;
mod interrupt;
mod progress;
mod project;
mod registry;
mod statistics;
mod tables;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    terminal::start_log();
    match commands::execute(arguments::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
