//! The keys of a node that say what happens when something of it fails; every kind has them. Knows nothing of options.

use std::time::Duration;

use super::nodes::NodeDraft;
use crate::diagnostic::{Diagnostic, nearest};
use crate::document::{Content, Entry, Table};
use crate::graph::{OnError, POLICY_KEYS, Policy};
use crate::stage::{Kind, Stage, Work};

/// The keys. No option and no port of a kind has one of these names.
pub(super) const KEYS: [&str; 3] = [POLICY_KEYS[0].0, POLICY_KEYS[1].0, POLICY_KEYS[2].0];

const RETRIES_LIMIT: u32 = 100;
/// Ten years: far from where the arithmetic of times ends.
const TIMEOUT_LIMIT: f64 = 10.0 * 365.0 * 86_400.0;

/// The policy that a node's table gives; what is wrong keeps its default.
pub(super) fn read(kind: &dyn Kind, table: &Table, errors: &mut Vec<Diagnostic>) -> Policy {
    let takes = |key: &str| {
        kind.options().iter().any(|spec| spec.name == key) || kind.inputs().iter().any(|port| port.name == key)
    };
    debug_assert!(!KEYS.into_iter().any(takes), "kind `{}` takes a key that every node has", kind.name());
    let mut policy = Policy::default();
    let [on_error, retries, timeout] = KEYS.map(|key| table.0.get(key));
    if let Some(on_error) = on_error.and_then(|entry| on_error_of(entry, errors)) {
        policy.on_error = on_error;
    }
    if let Some(retries) = retries.and_then(|entry| retries_of(entry, errors)) {
        policy.retries = retries;
    }
    policy.timeout = timeout.and_then(|entry| timeout_of(entry, errors));
    policy
}

fn on_error_of(entry: &Entry, errors: &mut Vec<Diagnostic>) -> Option<OnError> {
    let text = match &entry.item.content {
        Content::Text(text) if text.value == "fail" => return Some(OnError::Fail),
        Content::Text(text) if text.value == "drop" => return Some(OnError::Drop),
        Content::Text(text) => Some(text),
        Content::Broken => return None,
        _ => None,
    };
    let label = match text {
        None => format!("found {}", entry.item.type_name()),
        Some(text) => match nearest(&text.value, ["fail", "drop"].into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("found `{}`", text.written),
        },
    };
    let help = "`fail` stops the node at a record that fails, `drop` puts that record into the ledger and goes on";
    errors.push(Diagnostic::new(&entry.item.place, "`on-error` takes `fail` or `drop`").label(label).help(help));
    None
}

fn retries_of(entry: &Entry, errors: &mut Vec<Diagnostic>) -> Option<u32> {
    let found = match entry.item.content {
        Content::Integer(value) => match u32::try_from(value) {
            Ok(retries) if retries <= RETRIES_LIMIT => return Some(retries),
            _ => value.to_string(),
        },
        Content::Broken => return None,
        _ => entry.item.type_name().to_owned(),
    };
    let message = format!("`retries` takes a whole number from 0 to {RETRIES_LIMIT}");
    let error = Diagnostic::new(&entry.item.place, message).label(format!("found {found}"));
    errors.push(error.help("how often more something is tried after it failed"));
    None
}

fn timeout_of(entry: &Entry, errors: &mut Vec<Diagnostic>) -> Option<Duration> {
    let (seconds, found) = match entry.item.content {
        Content::Integer(value) => (Some(value as f64), value.to_string()),
        Content::Float(value) => (Some(value), format!("{value:?}").to_lowercase()),
        Content::Broken => return None,
        _ => (None, entry.item.type_name().to_owned()),
    };
    let duration = seconds
        .filter(|seconds| *seconds <= TIMEOUT_LIMIT)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero());
    if duration.is_none() {
        let error = Diagnostic::new(&entry.item.place, "`timeout` takes a number of seconds above 0");
        let error = error.label(format!("found {found}"));
        errors.push(if seconds.is_some_and(|seconds| seconds > TIMEOUT_LIMIT) {
            error.help("leave it out for no limit")
        } else {
            error.help("`timeout = 2.5` stops what takes longer than two and a half seconds")
        });
    }
    duration
}

/// What is wrong with a policy of this stage: single records can only be dropped where the work is done record by record.
pub(super) fn misfit(node: &NodeDraft<'_>, kind: &dyn Kind, stage: &Stage) -> Option<Diagnostic> {
    let why = match stage.work {
        _ if node.policy.on_error == OnError::Fail => return None,
        Work::Record(_) => return None,
        Work::Source(_) => "reads whole files",
        Work::Stream(_) => "rearranges whole streams",
        Work::Set(_) => "works on all its records at once",
        Work::Sink(_) => "writes one file",
    };
    let place = node.input_place("on-error").unwrap_or_else(|| node.place.clone());
    let message = format!("`on-error = \"drop\"` drops single records that fail, kind `{}` {why}", kind.name());
    Some(Diagnostic::new(&place, message).help("take it away, or use `retries` to try the whole node again"))
}
