//! A run as a person follows it on standard error: one bar per running node on a terminal, else a line now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use ruminate_flow::error::StageError;
use ruminate_flow::event::{Counts, Event, EventKind};

use crate::format::{count, duration, plural, printable, rate};
use crate::terminal::{self, BAD, CAUTION, GOOD, STRONG, paint};

/// Without a terminal, a node reports its progress at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often a bar is drawn again while nothing happens, so that its clock goes on.
const TICK: Duration = Duration::from_millis(500);

/// Shows the events of one run. Shared between threads.
pub(crate) struct Progress {
    mode: Mode,
    name_width: usize,
    nodes: Mutex<BTreeMap<Arc<str>, Running>>,
}

enum Mode {
    Silent,
    Lines,
    Bars(MultiProgress),
}

/// A node that computes.
#[derive(Default)]
struct Running {
    bar: Option<ProgressBar>,
    /// When the first progress came, and how much was done by then: what was taken from the store does not count as speed.
    first: Option<(Instant, u64)>,
    last_line: Option<Instant>,
}

impl Progress {
    /// A display for a graph whose nodes are called `names`. `quiet`: only failures are shown.
    pub(crate) fn new<'a>(quiet: bool, names: impl Iterator<Item = &'a str>) -> Self {
        console::set_colors_enabled_stderr(terminal::colours_on_stderr());
        let mode = match quiet {
            true => Mode::Silent,
            false if terminal::draws_bars() => Mode::Bars(MultiProgress::new()),
            false => Mode::Lines,
        };
        let name_width = names.map(console::measure_text_width).max().unwrap_or(0);
        Self { mode, name_width, nodes: Mutex::default() }
    }

    /// Shows one event.
    pub(crate) fn event(&self, event: &Event) {
        match &event.kind {
            EventKind::Run => self.started(&event.node),
            EventKind::Progress { done, total, unit, message } => {
                self.advanced(&event.node, *done, *total, unit, &printable(message));
            }
            EventKind::Drop { .. } | EventKind::Hit | EventKind::Partial { .. } => {}
            EventKind::Note { message } => {
                self.node_line(&event.node, &paint(CAUTION, printable(message)));
            }
            EventKind::Done(counts) => self.ended(&event.node, &done_text(counts)),
            EventKind::Failed { message, .. } if *message == StageError::Interrupted.to_string() => {
                self.ended(&event.node, &paint(CAUTION, "stopped"));
            }
            EventKind::Failed { message, .. } => {
                // The whole text follows below the table of nodes.
                let reason = printable(message);
                let text = format!("{} {}", paint(BAD, "failed:"), reason.lines().next().unwrap_or_default());
                self.ended(&event.node, &text);
            }
        }
    }

    /// A line above the bars.
    pub(crate) fn say(&self, text: &str) {
        match &self.mode {
            Mode::Bars(bars) => bars.suspend(|| terminal::say(text)),
            Mode::Lines | Mode::Silent => terminal::say(text),
        }
    }

    /// Takes all bars away: what follows is the summary.
    pub(crate) fn finish(&self) {
        if let Mode::Bars(bars) = &self.mode {
            for node in std::mem::take(&mut *self.lock()).into_values() {
                node.bar.inspect(ProgressBar::finish_and_clear);
            }
            let _ = bars.clear();
        }
    }

    fn started(&self, node: &Arc<str>) {
        let bar = match &self.mode {
            Mode::Silent => return,
            Mode::Lines => {
                self.node_line(node, "running");
                None
            }
            Mode::Bars(bars) => {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_style(waiting_style());
                bar.set_prefix(self.padded(node));
                bar.enable_steady_tick(TICK);
                Some(bar)
            }
        };
        let running = Running { bar, last_line: Some(Instant::now()), first: None };
        if let Some(Running { bar: Some(old), .. }) = self.lock().insert(node.clone(), running) {
            old.finish_and_clear();
        }
    }

    fn advanced(&self, node: &Arc<str>, done: u64, total: Option<u64>, unit: &'static str, message: &str) {
        if matches!(self.mode, Mode::Silent) {
            return;
        }
        let mut nodes = self.lock();
        let running = nodes.entry(node.clone()).or_default();
        let fresh = running.first.is_none();
        let (since, before) = *running.first.get_or_insert((Instant::now(), done));
        let speed = if fresh { 0.0 } else { done.saturating_sub(before) as f64 / since.elapsed().as_secs_f64() };
        let beside = progress_text(done, total, speed, message);
        if let Some(bar) = &running.bar {
            if fresh || bar.length() != total {
                bar.set_style(if total.is_some() { bar_style(unit) } else { count_style(unit) });
            }
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(done);
            bar.set_message(beside);
        } else if running.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            running.last_line = Some(Instant::now());
            drop(nodes);
            let counts = match total {
                Some(total) => format!("{}/{} {unit}", count(done), count(total)),
                None => format!("{} {unit}", count(done)),
            };
            self.node_line(node, [counts, beside].join("  ").trim_end());
        }
    }

    fn ended(&self, node: &Arc<str>, text: &str) {
        let running = self.lock().remove(node);
        if let Some(Running { bar: Some(bar), .. }) = running {
            bar.finish_and_clear();
        }
        self.node_line(node, text);
    }

    fn node_line(&self, node: &str, text: &str) {
        if !matches!(self.mode, Mode::Silent) {
            self.say(&format!("{}  {text}", paint(STRONG, self.padded(node))));
        }
    }

    fn padded(&self, node: &str) -> String {
        console::pad_str(node, self.name_width, console::Alignment::Left, None).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Running>> {
        // A thread that panicked while it drew a bar leaves nothing behind that the others could trip over.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a node that finished.
fn done_text(counts: &Counts) -> String {
    let records = plural(counts.records_out, "record");
    let dropped = match counts.dropped {
        0 => String::new(),
        dropped => format!(", {} dropped", count(dropped)),
    };
    if counts.computed == 0 {
        format!("{} {records}{dropped}", paint(GOOD, "hit:"))
    } else {
        format!("{} {records}{dropped} in {}", paint(GOOD, "done:"), duration(counts.seconds))
    }
}

/// What stands beside the counts: `3.1/s  26.0 s left  loss 0.4`. A `speed` of 0 is not known.
fn progress_text(done: u64, total: Option<u64>, speed: f64, message: &str) -> String {
    let mut parts = vec![rate(speed)];
    if let Some(total) = total.filter(|_| speed > 0.0 && speed.is_finite()) {
        parts.push(format!("{} left", duration(total.saturating_sub(done) as f64 / speed)));
    }
    parts.push(message.to_owned());
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// The bar of a node whose number of units is known.
fn bar_style(unit: &str) -> ProgressStyle {
    styled(&format!("{{prefix:.bold}}  {{bar:24.cyan/black.bright}}  {{counts}} {unit}  {{wide_msg:.dim}}"))
}

/// The same without an end in sight.
fn count_style(unit: &str) -> ProgressStyle {
    styled(&format!("{{prefix:.bold}}  {{spinner:.cyan}} {{counts}} {unit}  {{wide_msg:.dim}}"))
}

/// The same before the first report.
fn waiting_style() -> ProgressStyle {
    styled("{prefix:.bold}  {spinner:.cyan} {elapsed:.dim}")
}

fn styled(template: &str) -> ProgressStyle {
    // The templates above are constant up to the unit; should one not parse, the plain bar serves.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━─")
        .with_key("counts", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = match state.len() {
                Some(len) => write!(out, "{}/{}", count(state.pos()), count(len)),
                None => write!(out, "{}", count(state.pos())),
            };
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_speed_is_left_out() {
        assert_eq!(progress_text(40, Some(120), 4.0, "loss 0.4"), "4.0/s  20.0 s left  loss 0.4");
        assert_eq!(progress_text(1200, None, 0.25, ""), "4.0 s each");
        assert_eq!(progress_text(0, Some(10), 0.0, ""), "");
    }

    #[test]
    fn bars_have_valid_templates() {
        for template in [bar_style("steps"), count_style("steps"), waiting_style()] {
            let bar = ProgressBar::hidden().with_style(template);
            bar.set_position(1);
            bar.finish_and_clear();
        }
    }
}
