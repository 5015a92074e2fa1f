//! Where the engine's log goes: warnings to standard error, and the spans of `run --profile` to a file.

use std::io;
use std::path::Path;

use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use crate::failure::Failure;
use crate::profile::{self, Profile};

/// The profile's file is complete once this is dropped.
pub(crate) struct Log {
    _profile: Option<Profile>,
}

/// Sends the log of all crates to standard error: warnings, or what `RUMINATE_LOG` asks for. With `profile`, the spans of a
/// run go to that file.
///
/// # Errors
/// The profile's file cannot be made.
pub(crate) fn start(profile: Option<&Path>) -> Result<Log, Failure> {
    let wanted = EnvFilter::try_from_env("RUMINATE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = fmt::layer().with_writer(io::stderr).without_time().with_filter(wanted);
    let (layer, profile) = profile.map(profile::start).transpose()?.unzip();
    let spans = layer.map(|layer| layer.with_filter(profile::only()));
    // The first subscriber stays; a second call would be a no-op.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(Log { _profile: profile })
}
