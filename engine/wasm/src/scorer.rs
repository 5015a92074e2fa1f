//! Reward plugins as scorers: how a trainer gets their scores without knowing of plugins.

use std::sync::Arc;

use ruminate_flow::diagnostic::{list, nearest};
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::options::{InputFile, OptionKind, OptionSpec, Options};
use ruminate_flow::record::{Record, Schema};
use ruminate_flow::score::{Score, Scorer, Scorers, Unscored};
use ruminate_flow::stage::{Complaint, StageContext};
use serde_json::{Value as Json, json};

use crate::contract::World;
use crate::convert;
use crate::kind;
use crate::pace::Pace;
use crate::ready::{self, Ready, Settings};
use crate::schema::value_text;
use crate::search::{Answer, Ask, Fault, Search};

/// What a scorer's table may hold.
const SETTINGS: [OptionSpec; 7] =
    [ready::CONFIG, ready::FUEL, ready::MEMORY, ready::TABLE, ready::STACK, ready::TIMEOUT, ready::BATCH];

/// Opens reward plugins.
pub(crate) struct PluginScorers;

/// A reward plugin with its configuration.
struct PluginScorer {
    ready: Ready,
    pace: Pace,
}

impl Scorers for PluginScorers {
    fn open(&self, file: &InputFile, settings: &Json) -> Result<Arc<dyn Scorer>, Vec<Complaint>> {
        let settings = read(settings)?;
        let ready = Ready::open(file, &settings)?;
        let description = &ready.plugin.description;
        if description.world != World::Reward {
            let message = format!(
                "plugin `{}` is of the world `{}`: expected one of the world `reward`, which scores",
                description.name,
                description.world.name()
            );
            return Err(vec![Complaint::about("plugin", message)]);
        }
        Ok(Arc::new(PluginScorer { ready, pace: Pace::new(settings.batch) }))
    }
}

impl Scorer for PluginScorer {
    fn name(&self) -> &str {
        &self.ready.plugin.description.name
    }

    fn reads(&self) -> &Schema {
        &self.ready.reads
    }

    fn identity(&self) -> Json {
        json!({ "version": kind::VERSION, "world": World::Reward.name(), "reads": self.ready.reads })
    }

    fn score(
        &self,
        records: &[Record],
        context: &StageContext<'_>,
    ) -> Result<Vec<Result<Score, Unscored>>, StageError> {
        let samples: Vec<_> = records.iter().map(|record| Sample { record, reads: &self.ready.reads }).collect();
        let search = Search { ready: &self.ready, pace: &self.pace, context };
        search.run(&samples, &|answer| {
            let fault = match answer {
                Ok(Answer::Score(score)) => match convert::finite(score) {
                    Ok(score) => return Ok(Score { value: score.value, note: score.note }),
                    Err(error) => Fault::Call(error),
                },
                Ok(_) => Fault::Unread("the plugin gave something else than a score".to_owned()),
                Err(fault) => fault,
            };
            let deterministic = matches!(&fault, Fault::Call(error) if error.deterministic());
            Err(Unscored { reason: fault.reason(), deterministic })
        })
    }
}

/// A record with the names of the fields that the plugin reads.
struct Sample<'a> {
    record: &'a Record,
    reads: &'a Schema,
}

impl Ask for Sample<'_> {
    fn record(&self) -> &Record {
        self.record
    }

    /// The fields that are read, nothing else.
    fn content(&self) -> String {
        let read = self.reads.keys().filter_map(|name| self.record.fields.get_key_value(name.as_str()));
        Digest::of_json(&read.collect::<std::collections::BTreeMap<_, _>>()).short()
    }
}

/// The settings in a scorer's table, defaults filled in.
fn read(table: &Json) -> Result<Settings, Vec<Complaint>> {
    let about = |message: String| vec![Complaint::whole(message)];
    let empty = serde_json::Map::new();
    let given = match table {
        Json::Null => &empty,
        Json::Object(given) => given,
        other => return Err(about(format!("a plugin's settings are a table, not {}", value_text(other)))),
    };
    let unknown =
        given.keys().filter(|key| !SETTINGS.iter().any(|setting| setting.name == *key)).map(|key| unknown(key));
    let wrong = SETTINGS.iter().filter_map(|setting| mismatch(setting, given.get(setting.name)?));
    let complaints: Vec<_> = unknown.chain(wrong).collect();
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Options::over_defaults(&SETTINGS, table).read().map_err(about)
}

fn unknown(key: &str) -> Complaint {
    let names = || SETTINGS.iter().map(|setting| setting.name);
    let expected = match nearest(key, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", list(names())),
    };
    Complaint::about(key, format!("a plugin has no option `{key}`: {expected}"))
}

/// What is wrong with the value of a setting.
fn mismatch(setting: &OptionSpec, value: &Json) -> Option<Complaint> {
    let OptionKind::Int { min, max } = setting.kind else { return None };
    if value.as_i64().is_some_and(|value| (min..=max).contains(&value)) {
        return None;
    }
    let range = if max == i64::MAX { format!("of at least {min}") } else { format!("from {min} to {max}") };
    let message = format!("option `{}` takes a whole number {range}, not {}", setting.name, value_text(value));
    Some(Complaint { option: Some(setting.name.to_owned()), message, help: Some(setting.doc.to_owned()) })
}
