//! `eval`: a model answers every problem, greedily or sampled, and the grader judges. Statistics are the reader's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use regex::Regex;
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Record, Value};
use ruminate_flow::stage::{
    Complaint, Kind, NodeInput, Port, Reads, SetInput, SetOutput, SetStage, Stage, StageContext, Work,
};
use ruminate_grade::{Grader, Mode};
use serde_json::json;

use super::grading;
use super::loaded::Loaded;
use super::prompting::{self, PromptOptions, Prompting, TEXT_PROMPT, VISION_PROMPT, field_text, unusable};
use super::sampling::{self, Decoding, Sample};

pub(super) struct Eval;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Options {
    answer: String,
    samples: usize,
    keep: Vec<String>,
    styles: IndexMap<String, String>,
    #[serde(deserialize_with = "grading::read")]
    grader: Grader,
    #[serde(flatten)]
    prompting: PromptOptions,
    #[serde(flatten)]
    decoding: Decoding,
}

impl Kind for Eval {
    fn name(&self) -> &'static str {
        "eval"
    }

    fn summary(&self) -> &'static str {
        "answer every problem with a model and grade the answers"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            prompting::PROMPT,
            prompting::SYSTEM,
            prompting::IMAGE,
            prompting::MAX_PIXELS,
            OptionSpec::new("answer", OptionKind::Text, "\"answer\"", "The field with the true answer."),
            OptionSpec::new(
                "samples",
                OptionKind::Int { min: 1, max: 1024 },
                "1",
                "Answers for each problem; a problem's accuracy is their mean.",
            ),
            grading::GRADER,
            sampling::temperature(
                "0.0",
                "0 takes the likeliest token each time, which OpenVLThinker's 0.01 with top-k 1 comes to.",
            ),
            sampling::top_p("1.0", "Sample from the likeliest tokens that together reach this probability."),
            sampling::TOP_K,
            sampling::REPETITION_PENALTY,
            sampling::max_new_tokens("2048", "The longest response, in tokens."),
            sampling::SEED,
            OptionSpec::new(
                "keep",
                OptionKind::TextList,
                "[]",
                "Further input fields to keep in the items: a family, a level.",
            ),
            OptionSpec::new(
                "styles",
                OptionKind::TextMap,
                "{}",
                "Names for ways of answering: name = regular expression. An item's field `style` is the first that matches \
                 its response, else `other`; `results` shows the shares.",
            ),
            sampling::BATCH,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "problems with their answers"), Port::model("model", "the model to judge")] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("items", "every answer with its verdict")] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let options: Options = node.settings()?;
        let styles = compile(&options.styles)?;
        let prompting = Prompting::new(&options.prompting, &node.models["model"], (VISION_PROMPT, TEXT_PROMPT))?;
        let mut reads = prompting.reads().require(&options.answer, FieldKind::Json, Some("answer"));
        for field in &options.keep {
            reads = reads.require(field, FieldKind::Json, Some("keep"));
        }
        let mut schema: ruminate_flow::record::Schema = reads
            .fields
            .iter()
            .filter_map(|read| Some((read.name.clone(), node.schemas["input"].get(&read.name)?.clone())))
            .collect();
        for (name, kind) in [
            ("parent", FieldKind::Text),
            ("sample", FieldKind::Int),
            ("response", FieldKind::Text),
            ("prediction", FieldKind::Text),
            ("correct", FieldKind::Bool),
            ("rule", FieldKind::Text),
            ("style", FieldKind::Text),
            ("tokens", FieldKind::Int),
            ("finished", FieldKind::Bool),
        ] {
            schema.insert(name.to_owned(), kind);
        }
        Ok(Stage {
            version: 4,
            identity: json!({ "prompting": prompting.identity(), "grader": grading::identity(options.grader) }),
            reads: BTreeMap::from([("input", reads.clone())]),
            schemas: BTreeMap::from([("items", schema)]),
            models: BTreeMap::new(),
            seeded: options.decoding.is_random(),
            uses_device: true,
            work: Work::Set(Box::new(Evaluation { options, prompting, styles, reads })),
        })
    }
}

fn compile(styles: &IndexMap<String, String>) -> Result<Vec<(String, Regex)>, Vec<Complaint>> {
    let compiled = styles.iter().map(|(name, pattern)| {
        let regex = Regex::new(pattern)
            .map_err(|error| Complaint::about("styles", format!("style `{name}` is no regular expression: {error}")))?;
        Ok((name.clone(), regex))
    });
    compiled.collect::<Result<_, Complaint>>().map_err(|complaint| vec![complaint])
}

struct Evaluation {
    options: Options,
    prompting: Prompting,
    styles: Vec<(String, Regex)>,
    reads: Reads,
}

/// Items so far, in the checkpoint.
const ITEMS: &str = "items.json";
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

impl SetStage for Evaluation {
    fn run(&self, input: SetInput, context: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let problems = &input.records["input"];
        let samples = self.options.samples;
        let truth = |problem| self.truth(problem);
        let truths: Vec<String> = problems.iter().map(truth).collect::<Result<_, _>>()?;
        let mut items = self.resume(problems, context)?;
        let loaded = Loaded::for_inference(&input.models["model"], &self.prompting, context)?;
        let mut last_checkpoint = Instant::now();
        let done = items.len() / samples;
        context.progress.report(done as u64, Some(problems.len() as u64), "problems", "");
        let size = self.options.decoding.batch;
        for (batch, truths) in problems[done..].chunks(size).zip(truths[done..].chunks(size)) {
            match self.answer(batch, truths, &loaded, context, &mut items) {
                // What the batches before have given is kept; this one is asked again.
                Err(StageError::Interrupted) => {
                    self.save(&items, context)?;
                    return Err(StageError::Interrupted);
                }
                answered => answered?,
            }
            let done = items.len() / samples;
            let correct = items.iter().filter(|item| item.fields.get("correct") == Some(&Value::Bool(true))).count();
            let message = format!("accuracy {:.3}", correct as f64 / items.len().max(1) as f64);
            context.progress.report(done as u64, Some(problems.len() as u64), "problems", &message);
            let stop = context.cancel.requested() && done < problems.len();
            if stop || last_checkpoint.elapsed() > CHECKPOINT_EVERY {
                self.save(&items, context)?;
                last_checkpoint = Instant::now();
            }
            if stop {
                return Err(StageError::Interrupted);
            }
        }
        Ok(SetOutput { records: BTreeMap::from([("items", items)]), ..SetOutput::default() })
    }
}

impl Evaluation {
    fn resume(&self, problems: &[Record], context: &StageContext<'_>) -> Result<Vec<Record>, StageError> {
        let parts = context.checkpoint.load()?.unwrap_or_default();
        let items: Option<Vec<Record>> = parts.get(ITEMS).and_then(|bytes| serde_json::from_slice(bytes).ok());
        let fits = |items: &Vec<Record>| {
            items.len().is_multiple_of(self.options.samples) && items.len() <= problems.len() * self.options.samples
        };
        Ok(items.filter(fits).unwrap_or_default())
    }

    fn save(&self, items: &[Record], context: &StageContext<'_>) -> Result<(), StageError> {
        if items.is_empty() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(items).map_err(StageError::failed)?;
        context.checkpoint.save(&BTreeMap::from([(ITEMS.to_owned(), bytes)]))
    }

    fn truth(&self, problem: &Record) -> Result<String, StageError> {
        field_text(problem, &self.options.answer).map_err(|reason| unusable(problem, reason))
    }

    fn answer(
        &self,
        problems: &[Record],
        truths: &[String],
        loaded: &Loaded,
        context: &StageContext<'_>,
        items: &mut Vec<Record>,
    ) -> Result<(), StageError> {
        let mut prompts = Vec::with_capacity(problems.len());
        for problem in problems {
            let prompt = self.prompting.encode(problem, &loaded.processor, context.blobs);
            prompts.push(prompt.map_err(|reason| unusable(problem, reason))?);
        }
        let contents: Vec<Digest> =
            problems.iter().map(|problem| Digest::of_json(&self.read_fields(problem))).collect();
        let decoding = &self.options.decoding;
        let answers = decoding.decode(loaded, &prompts, &contents, self.options.samples, context)?;
        for ((problem, truth), samples) in problems.iter().zip(truths).zip(answers) {
            let samples = samples.map_err(|reason| unusable(problem, reason))?;
            for (index, sample) in samples.into_iter().enumerate() {
                items.push(self.item(problem, index, sample, truth));
            }
        }
        Ok(())
    }

    fn read_fields(&self, problem: &Record) -> Fields {
        let read = self.reads.fields.iter();
        read.filter_map(|read| problem.fields.get_key_value(read.name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn item(&self, problem: &Record, index: usize, sample: Sample, truth: &str) -> Record {
        let grader = self.options.grader;
        let rule = grader.rule(&sample.text, truth, Mode::Response);
        let prediction = grader.extract(&sample.text, Mode::Response).unwrap_or_default();
        let style = self.styles.iter().find(|(_, pattern)| pattern.is_match(&sample.text));
        let mut fields = self.read_fields(problem);
        fields.insert("parent".into(), Value::Text(problem.id.clone()));
        fields.insert("sample".into(), Value::Int(index as i64));
        fields.insert("prediction".into(), Value::text(prediction));
        fields.insert("correct".into(), Value::Bool(rule.is_correct()));
        fields.insert("rule".into(), Value::text(rule.as_str()));
        if !self.styles.is_empty() {
            fields.insert("style".into(), Value::text(style.map_or("other", |(name, _)| name)));
        }
        fields.insert("tokens".into(), Value::Int(sample.tokens as i64));
        fields.insert("finished".into(), Value::Bool(sample.finished));
        fields.insert("response".into(), Value::text(sample.text));
        let id = if self.options.samples == 1 { problem.id.clone() } else { format!("{}/{index}", problem.id).into() };
        Record { id, fields }
    }
}
