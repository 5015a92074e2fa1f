//! The kind `write`: a stream of records as a file outside the store. How the file looks inside is [`crate::table`]'s.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Record, Schema};
use crate::stage::{Complaint, Kind, NodeInput, Port, Reads, Sink, SinkPass, Stage, StageContext, Work};
use crate::table::{Format, WriteFormat, Writer};

/// The kind `write`.
pub(super) struct Write;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "path",
        OptionKind::Output,
        "The file to write, relative to the graph file's folder. Its ending says the format: .parquet, .jsonl, .csv or \
         .tsv, the last three also with .gz or .zst behind.",
    )
    .not_identity(),
    OptionSpec::new(
        "fields",
        OptionKind::TextList,
        "[]",
        "The fields to write, in this order; `id` is written if it is named. By default `id` and all fields.",
    ),
];
const INPUTS: &[Port] = &[Port::records("input", "the records to write")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    path: PathBuf,
    fields: Vec<String>,
}

impl Kind for Write {
    fn name(&self) -> &'static str {
        "write"
    }
    fn summary(&self) -> &'static str {
        "writes records to a JSON lines, CSV or Parquet file"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        &[]
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let schema = node.schemas.get("input").cloned().unwrap_or_default();
        let format = WriteFormat::of(&settings.path).ok_or_else(|| {
            let name = settings.path.file_name().unwrap_or_default().to_string_lossy();
            let message =
                format!("`{name}` does not say the format: expected a name that ends in {}", WriteFormat::ENDINGS);
            vec![Complaint::about("path", message)]
        })?;
        let complaints = complaints(&settings, &schema, format);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let reads = reads_of(&settings.fields, &schema);
        let identity = json!({ "format": format!("{:?} {:?}", format.format, format.packing).to_lowercase() });
        let fields = (!settings.fields.is_empty()).then_some(settings.fields);
        Ok(Stage {
            version: 1,
            identity,
            reads: BTreeMap::from([("input", reads)]),
            schemas: BTreeMap::new(),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Sink(Box::new(WriteSink { path: settings.path, format, fields, schema })),
        })
    }
}

fn complaints(settings: &Settings, schema: &Schema, format: WriteFormat) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let fields = &settings.fields;
    // The file's digest says next time whether it is still there.
    if std::fs::metadata(&settings.path).is_ok_and(|there| !there.is_file()) {
        complaints.push(Complaint {
            option: Some("path".to_owned()),
            message: format!("`{}` is no file", settings.path.display()),
            help: Some("name a file; `ruminate export` also writes into pipes and devices".to_owned()),
        });
    }
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].contains(field) {
            complaints.push(Complaint::about("fields", format!("`{field}` is named twice")));
        }
    }
    let image = schema.iter().find(|(name, kind)| (fields.is_empty() || fields.contains(name)) && holds_image(kind));
    if let (Format::Csv { .. }, Some((name, kind))) = (format.format, image) {
        complaints.push(Complaint {
            option: Some("path".to_owned()),
            message: format!("CSV cannot hold images, and field `{name}` is {kind}"),
            help: Some("write .parquet or .jsonl, or name the other fields in `fields`".to_owned()),
        });
    }
    complaints
}

fn holds_image(kind: &FieldKind) -> bool {
    match kind {
        FieldKind::List(inner) => holds_image(inner),
        kind => *kind == FieldKind::Image,
    }
}

/// The fields asked for must be there; without any, all that are known are read.
fn reads_of(fields: &[String], schema: &Schema) -> Reads {
    if fields.is_empty() {
        return schema.iter().fold(Reads::default(), |reads, (name, kind)| reads.allow(name, kind.clone(), None));
    }
    let fields = fields.iter().filter(|name| *name != "id");
    fields.fold(Reads::default(), |reads, name| reads.require(name, FieldKind::Json, Some("fields")))
}

struct WriteSink {
    path: PathBuf,
    format: WriteFormat,
    fields: Option<Vec<String>>,
    schema: Schema,
}

impl Sink for WriteSink {
    fn path(&self) -> &Path {
        &self.path
    }

    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn SinkPass + 'a>, StageError> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(StageError::io("make the folder", folder))?;
        }
        let fields = self.fields.as_deref();
        let writer = Writer::create(&self.path, self.format, &self.schema, fields, context.blobs)?;
        Ok(Box::new(WritePass { writer }))
    }
}

struct WritePass<'a> {
    writer: Writer<'a>,
}

impl SinkPass for WritePass<'_> {
    fn take(&mut self, records: &[Record]) -> Result<(), StageError> {
        self.writer.write(records)
    }

    fn finish(self: Box<Self>) -> Result<(), StageError> {
        self.writer.finish().map(drop)
    }
}
