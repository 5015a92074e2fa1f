//! The kind `where`: keeps the records of which a condition holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use super::condition::{Condition, Verdict, shown};
use super::fields::schema_of;
use crate::error::StageError;
use crate::model::Model;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Fields, Record};
use crate::stage::{
    Complaint, Dropped, Kind, NodeInput, Outcome, Port, Reads, RecordStage, Row, Stage, StageContext, Unit, Work,
};

/// The kind `where`.
pub(super) struct Where;

const OPTIONS: &[OptionSpec] = &[OptionSpec::required(
    "condition",
    OptionKind::Text,
    "What must hold, in the language of prompt templates: `score >= 0.5 and lang == \"en\" and text | length < 200`. A record whose \
     value is missing where the condition needs it is dropped; `score is none` and `score | default(0)` deal with that.",
)];
const INPUTS: &[Port] = &[Port::records("input", "the records")];
const OUTPUTS: &[Port] = &[Port::records("records", "those of which the condition holds, as they are")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    condition: String,
}

impl Kind for Where {
    fn name(&self) -> &'static str {
        "where"
    }
    fn summary(&self) -> &'static str {
        "keeps the records of which a condition holds"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let schema = schema_of(node, "input");
        let condition = Condition::new(&settings.condition, &schema).map_err(|mistakes| {
            let complaint = |mistake: super::condition::Mistake| Complaint {
                help: mistake.help,
                ..Complaint::about("condition", mistake.message)
            };
            mistakes.into_iter().map(complaint).collect::<Vec<_>>()
        })?;
        let reads = condition
            .fields()
            .fold(Reads::default(), |reads, name| reads.require(name, FieldKind::Json, Some("condition")));
        let is_false = format!("`{}` is false", shown(&settings.condition));
        let is_unknown = format!("`{}` has no value", shown(&settings.condition));
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::from([("input", reads)]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Record(Box::new(Sieve { condition, is_false, is_unknown })),
        })
    }
}

struct Sieve {
    condition: Condition,
    /// Why a record does not go on.
    is_false: String,
    is_unknown: String,
}

impl RecordStage for Sieve {
    fn batch_units(&self) -> usize {
        1024
    }

    fn process(
        &self,
        units: &[Unit],
        _models: &BTreeMap<&'static str, Arc<Model>>,
        _context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let empty = Record { id: "".into(), fields: Fields::new() };
        let records = units.iter().map(|unit| unit.records.first().unwrap_or(&empty));
        let verdicts = self.condition.judge(records).map_err(StageError::Failed)?;
        Ok(verdicts.into_iter().map(|verdict| self.outcome(verdict)).collect())
    }
}

impl Sieve {
    fn outcome(&self, verdict: Verdict) -> Outcome {
        let dropped = |reason: String| Outcome::Done { rows: Vec::new(), drops: vec![Dropped { source: 0, reason }] };
        match verdict {
            Verdict::True => {
                Outcome::Done { rows: vec![Row { source: 0, child: None, fields: Fields::new() }], drops: Vec::new() }
            }
            Verdict::False => dropped(self.is_false.clone()),
            Verdict::Missing(names) if names.is_empty() => dropped(self.is_unknown.clone()),
            Verdict::Missing(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                let have = if names.len() == 1 { "has" } else { "have" };
                dropped(format!("{} {have} no value", names.join(", ")))
            }
            Verdict::Failed(reason) => Outcome::Failed { reason },
        }
    }
}
