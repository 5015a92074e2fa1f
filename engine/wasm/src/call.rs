//! Why a call into a plugin failed, and what to write into the ledger about it. Turns wasmtime's errors into sentences
//! about the plugin; does not know what is done about them.

use wasmtime::{Trap, WasmBacktrace};

use crate::limits::Limits;

/// Why a call into a plugin failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It burned more fuel than this.
    Fuel(u64),
    /// It ran past its deadline of so many milliseconds: depends on the machine, so it is no verdict on the record.
    Timeout(u128),
    /// It asked for more than so many megabytes of memory.
    Memory(usize),
    /// It trapped.
    Trap {
        /// The message of its panic, or the name of the trap.
        message: String,
        /// The innermost functions of its own code first.
        frames: Vec<String>,
    },
    /// It returned an error.
    Refused(String),
    /// It returned something that the contract does not allow.
    Answer(String),
    /// The host failed, through no fault of the plugin.
    Host(String),
}

/// The most frames that a report shows.
const FRAMES_MAX: usize = 8;

/// Functions that are not the plugin's own: the standard library's, the bindings', and the exported wrappers.
const FOREIGN: [&str; 10] =
    ["std::", "core::", "alloc::", "<alloc::", "<core::", "<std::", "rust_", "__", "wit_bindgen", "ruminate:plugin"];

impl CallError {
    /// What an error of wasmtime says about the plugin. `panic` is the last line that it logged as an error.
    pub(crate) fn of(error: &wasmtime::Error, panic: Option<&str>, limits: &Limits) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => CallError::Fuel(limits.fuel),
            Some(Trap::Interrupt) => CallError::Timeout(limits.timeout.as_millis()),
            Some(trap) => {
                let panic = panic.filter(|_| *trap == Trap::UnreachableCodeReached);
                let message = panic.map_or_else(|| trap_text(*trap), str::to_owned);
                CallError::Trap { message, frames: frames(error) }
            }
            // Without a trap, the component broke the rules of the boundary: text that is not Unicode, a bad discriminant.
            None => CallError::Answer(causes(error)),
        }
    }

    /// Whether the same call fails the same way on every machine.
    pub(crate) fn deterministic(&self) -> bool {
        !matches!(self, CallError::Timeout(_) | CallError::Host(_))
    }

    /// The reason for the ledger: the same text for the same cause.
    pub(crate) fn reason(&self) -> String {
        match self {
            CallError::Fuel(limit) => {
                format!("plugin ran out of fuel: one record needs more than {limit} (option `fuel`)")
            }
            CallError::Timeout(limit) => format!("plugin ran longer than {limit} ms (option `timeout-ms`)"),
            CallError::Memory(limit) => format!("plugin asked for more than {limit} MB of memory (option `memory-mb`)"),
            CallError::Trap { message, .. } => format!("plugin trapped: {message}"),
            CallError::Refused(message) => format!("plugin error: {message}"),
            CallError::Answer(message) => format!("plugin gave a wrong result: {message}"),
            CallError::Host(message) => format!("the plugin could not be run: {message}"),
        }
    }
}

/// The chain of causes in one line, without the backtrace.
pub(crate) fn causes(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(|cause| cause.to_string()).filter(|cause| !cause.contains('\n'));
    causes.collect::<Vec<_>>().join(": ")
}

fn trap_text(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "the call stack is exhausted".to_owned(),
        Trap::UnreachableCodeReached => "it aborted without a message".to_owned(),
        other => other.to_string().trim_start_matches("wasm trap: ").to_owned(),
    }
}

/// The functions of the plugin's own code on the stack.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for frame in backtrace.frames() {
        let Some(name) = frame.func_name() else { continue };
        let name = format!("{:#}", rustc_demangle::demangle(name));
        // A recursion shows once.
        if !FOREIGN.iter().any(|prefix| name.starts_with(prefix)) && names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.truncate(FRAMES_MAX);
    names
}
