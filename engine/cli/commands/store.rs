//! `ruminate store`: what a store takes, whether it is whole, and room in it.

use std::collections::BTreeMap;
use std::io::Write;

use ruminate_flow::graph::Graph;
use ruminate_flow::plan;
use ruminate_flow::store::{GcOptions, GcReport, Pins, Removed, Store};
use serde_json::json;

use crate::arguments::{GcArguments, StoreArguments, StoreCommand};
use crate::failure::Failure;
use crate::format::{bytes, count, duration, plural};
use crate::registry::registry;
use crate::tables::{Align, Table};
use crate::terminal::{self, BAD, GOOD, QUIET, paint};

/// Entries that `gc` lists one by one to people; JSON has all.
const ENTRIES_MAX: usize = 40;

/// Does what the command line asks of a store.
///
/// # Errors
/// There is no store, or it cannot be read; `verify` found damage; a graph that is to be kept is wrong.
pub(crate) fn store(command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Du { store, json } => usage(store, *json),
        StoreCommand::Verify { store, json } => verify(store, *json),
        StoreCommand::Gc(arguments) => collect(arguments),
    }
}

/// A store that must be there: nobody asks after one that does not exist, unless its name is wrong.
fn open(arguments: &StoreArguments) -> Result<Store, Failure> {
    let folder = &arguments.store;
    if !folder.exists() {
        let message = format!("there is no store `{}`; name another with --store DIR", folder.display());
        return Err(Failure::Input(message));
    }
    Ok(Store::open(folder)?)
}

fn usage(arguments: &StoreArguments, json: bool) -> Result<(), Failure> {
    let store = open(arguments)?;
    let parts = store.usage()?;
    let files: u64 = parts.iter().map(|part| part.files).sum();
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let mut out = terminal::stdout();
    if json {
        let parts: Vec<_> =
            parts.iter().map(|part| json!({"what": part.what, "files": part.files, "bytes": part.bytes})).collect();
        let store = store.root().display().to_string();
        writeln!(out, "{:#}", json!({"store": store, "parts": parts, "files": files, "bytes": total}))?;
        return Ok(());
    }
    let mut table = Table::new(&[("what", Align::Left), ("files", Align::Right), ("size", Align::Right)]);
    for part in parts {
        table.row([part.what.to_owned(), count(part.files), bytes(part.bytes)]);
    }
    table.row(["in all".to_owned(), count(files), bytes(total)]);
    write!(out, "{}", table.render(None))?;
    Ok(())
}

fn verify(arguments: &StoreArguments, json: bool) -> Result<(), Failure> {
    let store = open(arguments)?;
    let bar = (!json && terminal::draws_bars()).then(|| indicatif::ProgressBar::new_spinner().with_message("reading"));
    let report = store.verify(&mut |file| {
        if let Some(bar) = &bar {
            bar.set_message(file.to_owned());
            bar.tick();
        }
    })?;
    bar.inspect(indicatif::ProgressBar::finish_and_clear);
    // What it noted is what it found: each damaged file is named below.
    store.take_notes();
    let mut out = terminal::stdout();
    let damaged = report.damaged.len() as u64;
    if json {
        let report = json!({"files": report.files, "bytes": report.bytes, "damaged": report.damaged});
        writeln!(out, "{report:#}")?;
    } else {
        for file in &report.damaged {
            writeln!(out, "{} {}", paint(BAD, "damaged:"), store.root().join(file).display())?;
        }
        let read = format!("{}, {} read", plural(report.files, "file"), bytes(report.bytes));
        let verdict = if damaged == 0 { paint(GOOD, "all whole") } else { paint(BAD, format!("{damaged} damaged")) };
        writeln!(out, "{read}: {verdict}")?;
    }
    if damaged > 0 {
        let what = if damaged == 1 { "1 file is" } else { &format!("{} files are", count(damaged)) };
        return Err(Failure::Failed(format!("{what} damaged; what they held is made anew when a run needs it")));
    }
    Ok(())
}

fn collect(arguments: &GcArguments) -> Result<(), Failure> {
    let store = open(&arguments.store)?;
    let registry = registry();
    let mut keep = Pins::default();
    // Every graph is read before anything goes: one that is wrong pins nothing.
    for path in &arguments.keep {
        let graph = Graph::load(path, &[], &registry, Some(&store))?;
        let keys = plan::pins(&graph, &store)?;
        keep.actions.extend(keys.actions);
        keep.units.extend(keys.units);
        keep.checkpoints.extend(keys.checkpoints);
    }
    let options = GcOptions { keep, max_size: arguments.max_size, dry_run: arguments.dry_run };
    let report = store.gc(&options)?;
    for note in store.take_notes() {
        terminal::say(&note);
    }
    let mut out = terminal::stdout();
    if arguments.json {
        writeln!(out, "{:#}", as_json(&report, arguments.dry_run))?;
    } else {
        write!(out, "{}", as_text(&report, arguments.dry_run))?;
    }
    if let Some(wanted) = arguments.max_size.filter(|wanted| *wanted < report.kept_bytes) {
        let (kept, wanted) = (bytes(report.kept_bytes), bytes(wanted));
        terminal::say(&format!("what the graphs pin takes {kept}, more than {wanted}: name fewer graphs to free more"));
    }
    Ok(())
}

fn as_json(report: &GcReport, dry_run: bool) -> serde_json::Value {
    let removed = report.removed.iter().map(|entry| {
        json!({
            "what": entry.what, "kind": entry.kind, "key": entry.key, "bytes": entry.bytes, "seconds": entry.seconds,
        })
    });
    json!({
        "dry_run": dry_run, "removed": removed.collect::<Vec<_>>(), "freed_bytes": report.freed_bytes,
        "kept_bytes": report.kept_bytes,
    })
}

/// What went, or would go, in the order of going; then the totals.
fn as_text(report: &GcReport, dry_run: bool) -> String {
    let mut text = String::new();
    if !report.removed.is_empty() {
        let mut table = Table::new(&[
            ("what", Align::Left),
            ("kind", Align::Left),
            ("key", Align::Left),
            ("size", Align::Right),
            ("to recompute", Align::Right),
        ]);
        let row = |entry: &Removed| {
            let key = paint(QUIET, entry.key.get(..12).unwrap_or(&entry.key));
            [entry.what.to_owned(), entry.kind.clone(), key, bytes(entry.bytes), duration(entry.seconds)]
        };
        report.removed.iter().take(ENTRIES_MAX).for_each(|entry| table.row(row(entry)));
        text.push_str(&table.render(None));
        text.push_str(&rest_by_kind(report.removed.get(ENTRIES_MAX..).unwrap_or_default()));
        text.push('\n');
    }
    let seconds = duration(report.removed.iter().map(|entry| entry.seconds).sum());
    let (freed, kept) = (bytes(report.freed_bytes), bytes(report.kept_bytes));
    let entries = match report.removed.len() as u64 {
        1 => "1 entry".to_owned(),
        number => format!("{} entries", count(number)),
    };
    text.push_str(&match (report.removed.is_empty(), dry_run) {
        (true, _) if report.freed_bytes == 0 => format!("nothing to remove; the store takes {kept}\n"),
        (_, true) => format!("would free {freed}: {entries}, {seconds} of work; {kept} would stay\n"),
        (_, false) => format!("freed {freed}: {entries}, {seconds} of work; {kept} stay\n"),
    });
    text
}

/// `and 12 more: 8 caption, 4 sft`.
fn rest_by_kind(rest: &[Removed]) -> String {
    if rest.is_empty() {
        return String::new();
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    rest.iter().for_each(|entry| *kinds.entry(&entry.kind).or_default() += 1);
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, number)| format!("{} {kind}", count(number))).collect();
    paint(QUIET, format!("and {} more: {}", count(rest.len() as u64), kinds.join(", "))) + "\n"
}

#[cfg(test)]
mod tests {
    use ruminate_flow::digest::Digest;

    use super::*;

    fn entry(kind: &str, seconds: f64) -> Removed {
        Removed {
            what: "action",
            key: Digest::of(kind.as_bytes()).to_string(),
            kind: kind.to_owned(),
            bytes: 2048,
            seconds,
        }
    }

    #[test]
    fn what_goes_is_said_before_and_after() {
        let report =
            GcReport { removed: vec![entry("caption", 3.0), entry("sft", 60.0)], kept_bytes: 0, freed_bytes: 4096 };
        let text = console::strip_ansi_codes(&as_text(&report, true)).into_owned();
        assert!(text.ends_with("\nwould free 4.00 KiB: 2 entries, 1 min 03 s of work; 0 B would stay\n"), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
        assert_eq!(as_text(&GcReport::default(), false), "nothing to remove; the store takes 0 B\n");
        let json = as_json(&report, false);
        assert_eq!((&json["removed"][1]["kind"], &json["dry_run"]), (&"sft".into(), &false.into()));
    }

    #[test]
    fn long_lists_end_with_a_count_by_kind() {
        let removed = (0..ENTRIES_MAX + 3).map(|_| entry("caption", 1.0)).collect();
        let report = GcReport { removed, kept_bytes: 0, freed_bytes: 1 };
        assert!(console::strip_ansi_codes(&as_text(&report, false)).contains("and 3 more: 3 caption\n"));
    }
}
