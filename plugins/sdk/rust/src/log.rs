//! The way to the engine's log, and panics that take it. What stands at its end is the guest's: the bindings are there.

use std::cell::Cell;

use crate::Level;

thread_local! {
    // A component has one thread. Where no one reads the cell, the compiler takes it away, and with it the import of the log.
    static SINK: Cell<Option<fn(Level, &str)>> = const { Cell::new(None) };
}

/// Writes a line to the engine's log; in a native test, to standard error. The engine cuts a flood of lines.
pub fn log(level: Level, message: &str) {
    match SINK.get() {
        Some(sink) => sink(level, message),
        None => eprintln!("{level:?}: {message}"),
    }
}

/// Sends lines to `sink` from now on, and the message of every panic, at level `error`: the engine shows it with the trap.
#[inline(never)]
pub(crate) fn start(sink: fn(Level, &str)) {
    SINK.set(Some(sink));
    // There a panic is a trap and no more.
    if cfg!(panic = "immediate-abort") {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        match panic.location() {
            Some(place) => log(Level::Error, &format!("{message} ({}:{})", place.file(), place.line())),
            None => log(Level::Error, message),
        }
    }));
}
