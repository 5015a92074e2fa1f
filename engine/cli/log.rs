//! Where the engine's log goes: warnings to standard error, and the spans of `run --profile` to a file.

use std::fs::File;
use std::io;
use std::path::Path;

use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use crate::failure::Failure;

/// The target of the spans that say what each node does when.
const PROFILE_TARGET: &str = "ruminate::profile";

/// The profile's file is complete once this is dropped.
pub(crate) struct Log {
    _profile: Option<FlushGuard>,
}

/// Sends the log of all crates to standard error: warnings, or what `RUMINATE_LOG` asks for. With `profile`, the spans of a
/// run go to that file in the trace format of Chrome, which Perfetto reads: a row for each thread, and a node is a thread.
///
/// # Errors
/// The profile's file cannot be made.
pub(crate) fn start(profile: Option<&Path>) -> Result<Log, Failure> {
    let wanted = EnvFilter::try_from_env("RUMINATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = fmt::layer().with_writer(io::stderr).without_time().with_filter(wanted);
    let (spans, guard) = match profile {
        None => (None, None),
        Some(path) => {
            let file = File::create(path)
                .map_err(|error| Failure::Input(format!("cannot write the profile `{}`: {error}", path.display())))?;
            let (layer, guard) = ChromeLayerBuilder::new().writer(file).include_args(true).build();
            let only = Targets::new().with_target(PROFILE_TARGET, LevelFilter::TRACE);
            (Some(layer.with_filter(only)), Some(guard))
        }
    };
    // The first subscriber stays; a second call would be a no-op.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(Log { _profile: guard })
}
