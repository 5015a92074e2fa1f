//! The program: reads the arguments and hands over to a command. It knows every other crate; nothing knows it.

mod arguments;
mod commands;
mod evaluation;
mod event_log;
mod failure;
mod files;
mod format;
mod interrupt;
mod log;
mod profile;
mod progress;
mod project;
mod reasons;
mod registry;
mod statistics;
mod tables;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A graph of a thousand nodes reads from a thousand files at once. Where the system refuses, smaller graphs still run.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let arguments = arguments::Arguments::parse();
    // The log lives as long as the command: what is still on its way to a file is written when it is dropped.
    match log::start(arguments.profile()).and_then(|_log| commands::execute(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
