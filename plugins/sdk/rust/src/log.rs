//! The way to the engine's log, and panics that take it. What stands at its end is the guest's: the bindings are there.

use std::sync::OnceLock;

use crate::Level;

static SINK: OnceLock<fn(Level, &str)> = OnceLock::new();

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
    if SINK.set(sink).is_err() {
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
