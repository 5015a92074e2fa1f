//! The file of `run --profile`: spans of the engine in Chrome's trace format, which Perfetto reads too. Each thread is a row, and
//! the engine names a node's thread after the node. (`tracing-chrome` does the same, but turns on features of `log` with which
//! all of burn and cranelift would be built again.)

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::failure::Failure;
use crate::terminal;

/// The target of the spans that say what a node does when.
const TARGET: &str = "ruminate::profile";

/// Takes the engine's spans.
pub(crate) struct ProfileLayer {
    file: Arc<ProfileFile>,
}

/// A profile in the making. Its file is complete once this is dropped; viewers also read one that breaks off.
pub(crate) struct Profile {
    file: Arc<ProfileFile>,
}

struct ProfileFile {
    path: PathBuf,
    started: Instant,
    open: Mutex<Open>,
}

struct Open {
    /// `None` after an error, or at the end.
    writer: Option<BufWriter<File>>,
    named: HashSet<u64>,
}

/// What a span carries until it is closed. A span that is entered several times is one slice for each time.
#[derive(Default)]
struct Entered {
    since: Option<Instant>,
    fields: Map<String, Json>,
}

/// Makes the file, or empties it.
///
/// # Errors
/// It cannot be made.
pub(crate) fn start(path: &Path) -> Result<(ProfileLayer, Profile), Failure> {
    let cannot = |error| Failure::Input(format!("cannot write the profile `{}`: {error}", path.display()));
    let mut writer = BufWriter::new(File::create(path).map_err(cannot)?);
    // Every line after this one begins with a comma, so that the file is JSON once the bracket is closed.
    let title = json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "ruminate"}});
    write!(writer, "[\n{title}").map_err(cannot)?;
    let open = Mutex::new(Open { writer: Some(writer), named: HashSet::new() });
    let file = Arc::new(ProfileFile { path: path.to_owned(), started: Instant::now(), open });
    Ok((ProfileLayer { file: file.clone() }, Profile { file }))
}

/// Lets only the spans of a profile through.
pub(crate) fn only() -> Targets {
    Targets::new().with_target(TARGET, LevelFilter::TRACE)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ProfileLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut entered = Entered::default();
        attributes.record(&mut Fields(&mut entered.fields));
        span.extensions_mut().insert(entered);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(entered) = span.extensions_mut().get_mut::<Entered>() {
            values.record(&mut Fields(&mut entered.fields));
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(entered) = span.extensions_mut().get_mut::<Entered>() {
            entered.since = Some(Instant::now());
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(entered) = extensions.get_mut::<Entered>() else { return };
        if let Some(since) = entered.since.take() {
            self.file.slice(span.name(), since, &entered.fields);
        }
    }
}

impl ProfileFile {
    /// One piece of work on this thread, from `since` to now.
    fn slice(&self, name: &str, since: Instant, fields: &Map<String, Json>) {
        let microseconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_nanos() as f64 / 1000.0;
        let (start, length) = (microseconds(self.started, since), microseconds(since, Instant::now()));
        let thread = thread_number();
        let mut open = self.lock();
        if open.named.insert(thread) {
            let current = std::thread::current();
            let row = current.name().unwrap_or("unnamed");
            self.line(
                &mut open,
                &json!({
                    "name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": {"name": row},
                }),
            );
        }
        self.line(
            &mut open,
            &json!({
                "name": name, "ph": "X", "ts": start, "dur": length, "pid": 1, "tid": thread, "args": fields,
            }),
        );
    }

    /// Adds an event. A full disk does not stop the run: it is said once, and the profile ends there.
    fn line(&self, open: &mut Open, event: &Json) {
        let Some(writer) = open.writer.as_mut() else { return };
        if let Err(error) = write!(writer, ",\n{event}") {
            self.stop(open, &error);
        }
    }

    fn stop(&self, open: &mut Open, error: &io::Error) {
        // What is buffered would fail again when the writer is dropped.
        if let Some(writer) = open.writer.take() {
            let _ = writer.into_parts();
        }
        terminal::say(&format!("the profile `{}` ends here: {error}", self.path.display()));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let mut open = self.file.lock();
        let Some(writer) = open.writer.as_mut() else { return };
        match writer.write_all(b"\n]\n").and_then(|()| writer.flush()) {
            Ok(()) => open.writer = None,
            Err(error) => self.file.stop(&mut open, &error),
        }
    }
}

/// Takes a span's fields as JSON.
struct Fields<'a>(&'a mut Map<String, Json>);

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

/// A number for this thread: the standard library's cannot be printed as one.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn spans_become_slices_on_rows_named_after_threads() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("profile.json");
        let Ok((layer, profile)) = start(&path) else { panic!("the folder is writable") };
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(only()));
        let work = move || {
            tracing::subscriber::with_default(subscriber, || {
                let _outer =
                    tracing::info_span!(target: "ruminate::profile", "compute", node = %"best", records = 3u64)
                        .entered();
                let _inner = tracing::info_span!(target: "ruminate::profile", "flush").entered();
                let _other = tracing::info_span!(target: "elsewhere", "unseen").entered();
            });
        };
        let thread = std::thread::Builder::new().name("best".to_owned()).spawn(work);
        assert!(thread.is_ok_and(|thread| thread.join().is_ok()));
        drop(profile);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let events: Vec<Json> = serde_json::from_str(&text).expect("the profile is JSON");
        let names: Vec<_> = events.iter().map(|event| event["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["process_name", "thread_name", "flush", "compute"]);
        assert_eq!(events[1]["args"]["name"], "best");
        assert_eq!(events[3]["args"], json!({"node": "best", "records": 3}));
        assert!(events[3]["dur"].as_f64() >= events[2]["dur"].as_f64());
    }
}
