//! The reasons in a plan: from what the dry walk found about a node, and what was remembered of it. One key, compared with
//! the one before, gives both the cache address and the words.

use crate::error::StageError;
use crate::graph::{Node, NodeId};
use crate::key::{NodeKey, by_unit};
use crate::plan::lookup::inputs_of;
use crate::run::{Difference, Ended, Finding, Job, Stop};
use crate::stage::Work;

use super::{NodePlan, State};

/// Puts findings into words.
pub(super) struct Explainer<'a> {
    pub(super) job: &'a Job<'a>,
    /// The nodes of which a part is still to be computed.
    pub(super) open: Vec<bool>,
}

impl Explainer<'_> {
    /// A node that is a hit by digests alone.
    pub(super) fn known(&self, id: NodeId) -> Option<NodePlan> {
        let memo = &self.job.resolved[id.0].as_ref()?.memo;
        let main = self.node(id).stage.schemas.keys().next();
        let records = match self.node(id).inputs.is_empty() {
            true => main.and_then(|port| memo.outputs.get(*port)).map_or(0, |stream| stream.count),
            false => memo.records_in,
        };
        Some(NodePlan {
            node: id,
            state: State::Hit,
            records: Some(records),
            cached: records,
            dropped: memo.drop_reasons.values().sum(),
            why: unchanged(records),
            seconds_last: Some(memo.seconds),
            digests: memo.outputs.iter().map(|(port, stream)| (port.clone(), stream.digest)).collect(),
        })
    }

    /// A node that took part in the walk.
    pub(super) fn worked(&self, id: NodeId, end: Ended) -> Result<NodePlan, StageError> {
        let finding = match end.result {
            Ok(()) => end.finding,
            Err(Stop::Failed(message)) => return Err(StageError::Failed(message)),
            Err(Stop::Interrupted) => return Err(StageError::Interrupted),
            // The failure above it is what is told.
            Err(Stop::CutOff) => Finding { waits: true, ..end.finding },
        };
        let mut plan = NodePlan {
            node: id,
            state: State::Hit,
            records: Some(finding.records),
            cached: finding.cached,
            dropped: end.counts.dropped,
            why: String::new(),
            seconds_last: self.seconds_last(id),
            digests: end.outputs.iter().map(|(port, stream)| ((*port).to_owned(), stream.digest)).collect(),
        };
        if finding.waits {
            (plan.state, plan.records, plan.why) = (State::Waits, None, self.waits(id, &finding));
            return Ok(plan);
        }
        let by_unit = by_unit(self.node(id));
        let open = finding.records - finding.cached.min(finding.records);
        (plan.state, plan.why) = if !finding.computes && finding.failed == 0 {
            if !by_unit {
                plan.cached = finding.records;
            }
            plan.seconds_last = Some(finding.seconds);
            (State::Hit, unchanged(finding.records))
        } else if by_unit {
            let state = if finding.cached == 0 { State::Run } else { State::Partial };
            (state, self.units(id, &finding, open))
        } else {
            (State::Run, self.whole(id, &finding))
        };
        if plan.state == State::Run && matches!(self.node(id).stage.work, Work::Source(_)) {
            plan.records = Some(finding.records);
        }
        Ok(plan)
    }

    /// Why a source, a set stage or a sink runs.
    fn whole(&self, id: NodeId, finding: &Finding) -> String {
        let mut why = match self.changed(id, finding.key.as_ref()) {
            _ if self.job.fresh[id.0] => "asked for with --from".to_owned(),
            Some(why) => why,
            None if matches!(self.node(id).stage.work, Work::Sink(_)) => {
                "the file is not there as it was written".to_owned()
            }
            None => "its result is not in the store".to_owned(),
        };
        if let Some(difference) = finding.difference {
            why.push_str(&format!(": {}", difference_text(difference)));
        }
        let checkpoint = finding.key.as_ref().is_some_and(|key| {
            !self.job.fresh[id.0] && self.job.store.root().join("checkpoints").join(key.digest().to_string()).is_dir()
        });
        if checkpoint {
            why.push_str("; it goes on from its checkpoint");
        }
        why
    }

    /// Why units of a record stage are to be computed.
    fn units(&self, id: NodeId, finding: &Finding, open: u64) -> String {
        if self.job.fresh[id.0] {
            return "asked for with --from".to_owned();
        }
        let records = finding.records;
        let failed = match finding.failed {
            0 => String::new(),
            failed => format!("{failed} of {records} records failed last time and are tried again"),
        };
        let changed = self.changed(id, finding.key.as_ref());
        let new = open - finding.failed.min(open);
        let why = match (changed, new) {
            (Some(why), _) if finding.cached == 0 => why,
            (Some(why), _) => format!("{why}; {open} of {records} records are to be computed"),
            (None, 0) => String::new(),
            (None, new) => format!("{new} of {records} records are new, changed or not finished"),
        };
        [why, failed].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn waits(&self, id: NodeId, finding: &Finding) -> String {
        let graph = self.job.graph;
        let names: Vec<_> = inputs_of(graph, id)
            .into_iter()
            .filter(|input| self.open[input.0])
            .map(|input| format!("`{}`", graph.nodes[input.0].name))
            .collect();
        let why = format!("waits for {}", names.join(", "));
        let (Some(old), Some(mut key)) = (self.job.past(id), finding.key.clone()) else { return why };
        // What is not known yet is no change.
        key.inputs.clone_from(&old.inputs);
        for (port, digest) in &old.models {
            key.models.entry(port.clone()).or_insert(*digest);
        }
        match self.changed(id, Some(&key)) {
            Some(changed) => format!("{changed}; {why}"),
            None => why,
        }
    }

    /// What differs from the last time, each with its place in the graph file; `None` if nothing does.
    fn changed(&self, id: NodeId, key: Option<&NodeKey>) -> Option<String> {
        let key = key?;
        let Some(old) = self.job.past(id) else { return Some("it has not run before".to_owned()) };
        let node = self.node(id);
        let changes = NodeKey::changes(&old, key).into_iter().map(|change| {
            let option = change.option.unwrap_or_default();
            match (node.option_settings.get(&option), node.option_positions.get(&option)) {
                (Some(setting), _) => format!("--set {setting}: {}", change.text),
                (None, Some(place)) => {
                    format!("{}:{}:{}: {}", self.job.graph.path.display(), place.line, place.column, change.text)
                }
                (None, None) => change.text,
            }
        });
        let changes: Vec<_> = changes.collect();
        (!changes.is_empty()).then(|| changes.join("; "))
    }

    fn seconds_last(&self, id: NodeId) -> Option<f64> {
        self.job.history.nodes.get(&*self.node(id).name)?.seconds
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.job.graph.nodes[id.0]
    }
}

fn unchanged(records: u64) -> String {
    if records == 0 { "no records come in".to_owned() } else { "nothing changed".to_owned() }
}

/// `2 records added, 1 changed`.
fn difference_text(difference: Difference) -> String {
    let parts = [(difference.added, "added"), (difference.removed, "removed"), (difference.changed, "changed")];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {} {what}", if *count == 1 { "record" } else { "records" }))
        .collect();
    if parts.is_empty() { "the same records, perhaps in another order".to_owned() } else { parts.join(", ") }
}
