//! The file of `run --events`: everything that happens, as JSON lines. It never slows the run: lines are buffered, and
//! written out at least once a second.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ruminate_flow::event::{Event, EventKind};
use serde::Serialize;

use crate::failure::Failure;
use crate::terminal::{self, QUIET, paint};

/// How long a line may wait in memory.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// A node's progress is logged at most this often: it says nothing that a later line does not.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 1 << 18;

/// An event log. Its file is complete once it is dropped.
pub(crate) struct EventLog {
    file: Arc<LogFile>,
    /// Dropping the sender ends the thread.
    flusher: Option<(Sender<()>, JoinHandle<()>)>,
}

struct LogFile {
    path: PathBuf,
    started: Instant,
    open: Mutex<Open>,
}

struct Open {
    /// `None` after an error.
    writer: Option<BufWriter<File>>,
    progress: BTreeMap<Arc<str>, Instant>,
}

/// A line: seconds since the run began, then the event.
#[derive(Serialize)]
struct Line<'a> {
    at: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl EventLog {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::Input(format!("cannot write the event log `{}`: {error}", path.display()));
        let writer = Some(BufWriter::with_capacity(BUFFER_BYTES, File::create(path).map_err(cannot)?));
        let open = Mutex::new(Open { writer, progress: BTreeMap::new() });
        let file = Arc::new(LogFile { path: path.to_owned(), started: Instant::now(), open });
        let (stop, stopped) = channel::<()>();
        let flushed = Arc::clone(&file);
        let thread = std::thread::Builder::new().name("event log".to_owned()).spawn(move || {
            while stopped.recv_timeout(FLUSH_AFTER) == Err(RecvTimeoutError::Timeout) {
                flushed.flush();
            }
        });
        Ok(Self { file, flusher: Some((stop, thread.map_err(cannot)?)) })
    }

    /// Writes one event. A full disk does not stop the run: it is said once, and the log ends there.
    pub(crate) fn event(&self, event: &Event) {
        let mut open = self.file.lock();
        if matches!(event.kind, EventKind::Progress { .. }) {
            let now = Instant::now();
            let recent = open.progress.get(&event.node).is_some_and(|last| now - *last < PROGRESS_INTERVAL);
            if recent {
                return;
            }
            open.progress.insert(event.node.clone(), now);
        }
        let at = (self.file.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        self.file.attempt(&mut open, |writer| {
            serde_json::to_writer(&mut *writer, &Line { at, event })?;
            writer.write_all(b"\n")
        });
    }

    /// Writes out what is still in memory.
    pub(crate) fn flush(&self) {
        self.file.flush();
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.flusher.take() {
            drop(stop);
            // It cannot have panicked over anything that is not said already.
            let _ = thread.join();
        }
        self.flush();
    }
}

impl LogFile {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) {
        self.attempt(&mut self.lock(), Write::flush);
    }

    fn attempt(&self, open: &mut Open, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) {
        let Some(writer) = open.writer.as_mut() else { return };
        if let Err(error) = write(writer) {
            // What is buffered would fail again when the writer is dropped.
            if let Some(writer) = open.writer.take() {
                let _ = writer.into_parts();
            }
            terminal::say(&paint(QUIET, format!("the event log `{}` ends here: {error}", self.path.display())));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn lines(path: &Path) -> Vec<Json> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn log_is_whole_after_a_flush_and_progress_is_thinned() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("events.jsonl");
        let Ok(log) = EventLog::create(&path) else { panic!("the folder is writable") };
        let event = |kind| Event { node: "best".into(), kind };
        log.event(&event(EventKind::Run));
        for done in 0..100 {
            log.event(&event(EventKind::Progress { done, total: None, unit: "records", message: String::new() }));
        }
        log.event(&event(EventKind::Drop { id: "p1".into(), reason: "too long".into() }));
        log.flush();
        let names: Vec<_> = lines(&path).iter().map(|line| line["event"].to_string()).collect();
        assert_eq!(names, [r#""run""#, r#""progress""#, r#""drop""#]);
        log.event(&event(EventKind::Partial { hits: 2, computed: 1 }));
        drop(log);
        let last = lines(&path).pop().unwrap_or_default();
        assert_eq!((&last["node"], &last["event"], &last["hits"]), (&"best".into(), &"partial".into(), &2.into()));
        assert!(last["at"].is_number());
    }

    #[test]
    fn log_in_no_folder_is_an_error_of_the_input() {
        let made = EventLog::create(Path::new("/nonexistent/folder/events.jsonl"));
        assert!(matches!(made, Err(Failure::Input(message)) if message.contains("/nonexistent/folder")));
    }
}
