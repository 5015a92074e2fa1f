//! The kind `read`: records from JSON lines, CSV and Parquet. What the files look like inside is [`crate::table`]'s.

mod unique;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use self::unique::{Ids, Repeat};
use crate::digest::DigestBuilder;
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec, Options};
use crate::record::{FieldKind, Record, Schema};
use crate::stage::{Complaint, Kind, NodeInput, Port, Source, Stage, StageContext, Work};
use crate::table::{self, Column, Columns, Format, ReadContext, Rows, TableFile};

/// The kind `read`.
pub(super) struct Read;

/// Records that go on at a time.
const BATCH_RECORDS: usize = 256;
/// Names of left out columns that are told, at most.
const LATE_COLUMNS: usize = 8;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "path",
        OptionKind::Files,
        "Parquet, JSON lines or CSV files, text also packed with gzip, Zstandard or bzip2: a path, a glob, or a list of \
         these. All must have the same columns.",
    ),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["jsonl", "csv", "parquet"]),
        "null",
        "The files' format. By default their first bytes tell Parquet, the ending .csv or .tsv tells CSV, and all other \
         text is JSON lines.",
    ),
    OptionSpec::new(
        "delimiter",
        OptionKind::Text,
        "null",
        "The character between the cells of CSV: by default a tab for .tsv, else a comma.",
    ),
    OptionSpec::new(
        "fields",
        OptionKind::TextMap,
        "{}",
        "Renames columns: new name = column. Other columns keep their names; one whose name is taken over is left out.",
    ),
    OptionSpec::new(
        "kinds",
        OptionKind::TextMap,
        "{}",
        "Column = kind (boolean, int, float, text, json, list<KIND>), where the first 1000 rows of JSON lines or CSV do \
         not tell. `text` takes the cells of CSV as they stand, `json` any value of JSON lines.",
    ),
    OptionSpec::new(
        "limit",
        OptionKind::Int { min: 0, max: i64::MAX },
        "null",
        "Reads at most this many rows; all by default.",
    ),
    OptionSpec::new("offset", OptionKind::Int { min: 0, max: i64::MAX }, "0", "Skips this many rows first."),
    OptionSpec::new(
        "id",
        OptionKind::Text,
        "null",
        "The column with each record's id. By default the column `id` if there is one, else ids derive from the rows' content.",
    ),
    OptionSpec::new(
        "images",
        OptionKind::TextList,
        "[]",
        "Columns of JSON lines or CSV that hold images: paths relative to the data file, or `data:` URIs. Images in \
         Parquet need no mention.",
    ),
];
const OUTPUTS: &[Port] = &[Port::records("records", "the rows")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(rename = "path")]
    _path: Json,
    format: Option<String>,
    delimiter: Option<String>,
    fields: IndexMap<String, String>,
    kinds: IndexMap<String, String>,
    limit: Option<u64>,
    offset: u64,
    id: Option<String>,
    images: Vec<String>,
}

impl Kind for Read {
    fn name(&self) -> &'static str {
        "read"
    }
    fn summary(&self) -> &'static str {
        "reads records from JSON lines, CSV or Parquet"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        &[]
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut settings: Settings = node.settings()?;
        for image in &mut settings.images {
            if let Some(column) = settings.fields.get(image) {
                image.clone_from(column);
            }
        }
        let paths = node.options.files.get("path").into_iter().flatten().map(|file| file.path.as_path());
        let files = files_of(&settings, paths)?;
        let schema = columns_of(&files, &settings.images).map_err(|message| vec![Complaint::about("path", message)])?;
        let mut complaints = unknown_columns(&settings, &schema);
        if schema.is_empty() && !complaints.is_empty() {
            return Err(vec![Complaint::about("path", holds_nothing(node.options))]);
        }
        let schema = with_kinds(&settings.kinds, schema, &mut complaints);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let identity = identity_of(&files, &settings.images, node)
            .map_err(|error| vec![Complaint::about("images", error.to_string())])?;
        let columns = columns_with_fields(&settings, &schema);
        let fields = columns.values().flat_map(|column| column.fields.iter().map(|name| (name, &column.kind)));
        let fields: Schema = fields.map(|(name, kind)| (name.to_string(), kind.clone())).collect();
        let end = settings.offset.saturating_add(settings.limit.unwrap_or(u64::MAX));
        let source = ReadSource { files, columns, rows: settings.offset..end };
        Ok(Stage {
            version: 1,
            identity,
            reads: BTreeMap::new(),
            schemas: BTreeMap::from([("records", fields)]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Source(Box::new(source)),
        })
    }

    fn advice(&self, options: &Options, field: &str, given: &FieldKind, wanted: &FieldKind) -> Option<String> {
        let (given, wanted) = match (given, wanted) {
            (FieldKind::List(given), FieldKind::List(wanted)) => (&**given, &**wanted),
            kinds => kinds,
        };
        let mut files = options.files.get("path").into_iter().flatten();
        let is_text = |path: &Path| TableFile::open(path).is_ok_and(|file| file.format != Format::Parquet);
        (*given == FieldKind::Text && *wanted == FieldKind::Image && files.all(|file| is_text(&file.path)))
            .then(|| format!("`images = [\"{field}\"]` declares a column of paths or `data:` URIs as images"))
    }

    fn why_empty(&self, options: &Options) -> Option<String> {
        Some(holds_nothing(options))
    }
}

/// The files with their formats, as found or as the options say.
fn files_of<'p>(settings: &Settings, paths: impl Iterator<Item = &'p Path>) -> Result<Vec<TableFile>, Vec<Complaint>> {
    let delimiter = match settings.delimiter.as_deref().map(str::as_bytes) {
        None => None,
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
        Some(_) => {
            let message = "expected one character of ASCII, such as `;` or a tab, and no quote";
            return Err(vec![Complaint::about("delimiter", message)]);
        }
    };
    let mut files = Vec::new();
    for path in paths {
        let mut file = TableFile::open(path).map_err(|error| vec![Complaint::about("path", error.to_string())])?;
        let found = file.format;
        file.format = match (settings.format.as_deref(), found) {
            (Some("parquet"), _) => Format::Parquet,
            (Some("jsonl"), _) => Format::Jsonl,
            (Some("csv"), Format::Jsonl | Format::Parquet) => Format::Csv { delimiter: b',' },
            _ => found,
        };
        if (file.format == Format::Parquet) != (found == Format::Parquet) {
            let what = if found == Format::Parquet { "is Parquet" } else { "is not Parquet" };
            return Err(vec![Complaint::about("format", format!("`{}` {what}", path.display()))]);
        }
        if let (Format::Csv { delimiter: of_file }, Some(delimiter)) = (&mut file.format, delimiter) {
            *of_file = delimiter;
        }
        files.push(file);
    }
    Ok(files)
}

/// The columns that all files have. A file without any, an empty one, has no say.
fn columns_of(files: &[TableFile], images: &[String]) -> Result<Schema, String> {
    let mut columns: Option<(Schema, &Path)> = None;
    for file in files {
        let schema = file.schema(images).map_err(|error| error.to_string())?;
        match &mut columns {
            _ if schema.is_empty() => {}
            None => columns = Some((schema, &file.path)),
            Some((known, first)) => join_columns(known, &schema, first, &file.path)?,
        }
    }
    let mut columns = columns.map(|(schema, _)| schema).unwrap_or_default();
    if files.iter().any(|file| matches!(file.format, Format::Csv { .. })) {
        // A cell is text unless it was seen to be something else.
        columns.values_mut().filter(|kind| **kind == FieldKind::Json).for_each(|kind| *kind = FieldKind::Text);
    }
    Ok(columns)
}

/// Takes the columns of the file at `path` into account.
fn join_columns(known: &mut Schema, schema: &Schema, first: &Path, path: &Path) -> Result<(), String> {
    let names = |schema: &Schema| schema.keys().cloned().collect::<IndexSet<_>>();
    if let Some(name) = names(known).symmetric_difference(&names(schema)).next() {
        let (has, lacks) = if known.contains_key(name) { (first, path) } else { (path, first) };
        return Err(format!(
            "files must have the same columns: `{}` has `{name}`, `{}` lacks it",
            has.display(),
            lacks.display()
        ));
    }
    for (name, kind) in known.iter_mut() {
        let Some(other) = schema.get(name) else { continue };
        if !kind.accepts(other) && !other.accepts(kind) {
            let (first, path) = (first.display(), path.display());
            return Err(format!(
                "files must have the same columns: `{name}` is {kind} in `{first}` and {other} in `{path}`"
            ));
        }
        // A column without a value in one head is what it is in the other.
        *kind = match (&*kind, other) {
            (FieldKind::Json, known) | (known, FieldKind::Json) => known.clone(),
            (one, other) => table::join(one.clone(), other.clone()),
        };
    }
    Ok(())
}

fn unknown_columns(settings: &Settings, columns: &Schema) -> Vec<Complaint> {
    let named = settings.fields.values().map(|column| ("fields", column));
    let named = named
        .chain(settings.kinds.keys().map(|column| ("kinds", column)))
        .chain(settings.id.iter().map(|column| ("id", column)))
        .chain(settings.images.iter().map(|column| ("images", column)));
    let available: Vec<_> = columns.keys().map(|column| format!("`{column}`")).collect();
    let help = format!("the columns are {}", available.join(", "));
    named
        .filter(|(_, column)| !columns.contains_key(*column))
        .map(|(option, column)| Complaint {
            option: Some(option.to_owned()),
            message: format!("there is no column `{column}`"),
            help: Some(help.clone()),
        })
        .collect()
}

/// What is said of files without columns.
fn holds_nothing(options: &Options) -> String {
    match options.values.get("path") {
        Some(Json::String(path)) if !path.contains(['*', '?', '[']) => format!("`{path}` holds no rows"),
        _ => "the files hold no rows".to_owned(),
    }
}

/// The schema with the kinds that the option `kinds` gives.
fn with_kinds(kinds: &IndexMap<String, String>, mut schema: Schema, complaints: &mut Vec<Complaint>) -> Schema {
    for (column, name) in kinds {
        match FieldKind::parse(name) {
            Some(FieldKind::Image) => {
                complaints.push(Complaint::about("kinds", "name columns of images in the option `images`"));
            }
            Some(kind) => {
                schema.entry(column.clone()).and_modify(|known| *known = kind);
            }
            None => complaints.push(Complaint {
                option: Some("kinds".to_owned()),
                message: format!("`{name}` is no kind"),
                help: Some("the kinds are boolean, int, float, text, json and list<KIND>".to_owned()),
            }),
        }
    }
    schema
}

/// What decides the result beside the files' bytes: a format that these do not tell, and the images that rows name.
fn identity_of(files: &[TableFile], images: &[String], node: &NodeInput<'_>) -> Result<Json, StageError> {
    let mut identity = serde_json::Map::new();
    let is_csv = |file: &TableFile| matches!(file.format, Format::Csv { .. });
    if files.iter().any(is_csv) {
        let delimiter = |file: &TableFile| match file.format {
            Format::Csv { delimiter } => Json::from(char::from(delimiter).to_string()),
            _ => Json::Null,
        };
        identity.insert("csv delimiters".to_owned(), files.iter().map(delimiter).collect());
    }
    let mut digest = DigestBuilder::default();
    let mut named = !images.is_empty();
    for file in files {
        for image in file.image_files(images)? {
            // Of a device or a pipe there is no digest.
            if std::fs::metadata(&image).is_ok_and(|image| !image.is_file()) {
                return Err(StageError::failed(format!("cannot read the image `{}`: it is no file", image.display())));
            }
            digest.part((node.digest_file)(&image)?.bytes());
            named = true;
        }
    }
    if named {
        identity.insert("image files".to_owned(), json!(digest.finish()));
    }
    Ok(if identity.is_empty() { Json::Null } else { Json::Object(identity) })
}

/// What becomes of each column. A record's id is no field.
fn columns_with_fields(settings: &Settings, schema: &Schema) -> Columns {
    let renames = &settings.fields;
    let named_id = settings.id.as_deref().or_else(|| renames.get("id").map(String::as_str));
    let id = named_id.or_else(|| schema.contains_key("id").then_some("id"));
    let mut columns = Columns::new();
    for (name, kind) in schema {
        let mut fields: Vec<&str> =
            renames.iter().filter(|(_, from)| *from == name).map(|(to, _)| to.as_str()).collect();
        if fields.is_empty() && !renames.contains_key(name) {
            fields.push(name);
        }
        let column = Column {
            kind: kind.clone(),
            fields: fields.into_iter().filter(|field| *field != "id").map(Into::into).collect(),
            id: id == Some(name.as_str()),
            images: settings.images.contains(name),
        };
        columns.insert(name.clone(), column);
    }
    columns
}

struct ReadSource {
    files: Vec<TableFile>,
    columns: Columns,
    /// The rows that go on, counted over all files.
    rows: std::ops::Range<u64>,
}

impl Source for ReadSource {
    fn read(
        &self,
        context: &StageContext<'_>,
        emit: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut ids = Ids::default();
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        let mut late = BTreeSet::new();
        let reading = ReadContext { blobs: context.blobs, threads: context.threads };
        self.each_row(&self.columns, reading, &mut |file, rows| {
            if let Some((name, line)) = rows.late
                && late.len() < LATE_COLUMNS
                && late.insert(name.clone())
            {
                context.progress.note(&format!(
                    "{}:{line}: the column `{name}` is left out: the columns are those of the first {} rows",
                    file.display(),
                    table::HEAD_ROWS
                ));
            }
            for ((mut record, mark), row) in rows.records.into_iter().zip(rows.marks).zip(rows.places) {
                match ids.take(mark) {
                    Repeat::New => {}
                    Repeat::Content(count) => record.id = format!("{}-{count}", record.id).into(),
                    Repeat::Maybe => {
                        let second = Place { file: file.to_owned(), row };
                        self.refuse_repeated(&record.id, reading, &second)?;
                    }
                }
                batch.push(record);
                if batch.len() == BATCH_RECORDS {
                    emit(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_RECORDS)))?;
                }
            }
            if context.cancel.requested() { Err(StageError::Interrupted) } else { Ok(ControlFlow::Continue(())) }
        })?;
        if batch.is_empty() { Ok(()) } else { emit(batch) }
    }
}

/// Takes rows of a file, in order. `Break` ends the reading.
type TakeFileRows<'a> = &'a mut dyn FnMut(&Path, Rows) -> Result<ControlFlow<()>, StageError>;

/// Where a row stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    row: u64,
}

impl ReadSource {
    /// Gives the rows that go on, file by file.
    fn each_row(&self, columns: &Columns, reading: ReadContext<'_>, take: TakeFileRows<'_>) -> Result<(), StageError> {
        let mut row = 0;
        let mut ended = self.rows.is_empty();
        for file in &self.files {
            if ended {
                return Ok(());
            }
            file.read(columns, reading, &mut |mut rows| {
                let count = rows.records.len() as u64;
                let skipped = self.rows.start.saturating_sub(row).min(count) as usize;
                let wanted = self.rows.end.saturating_sub(row).min(count) as usize;
                row += count;
                if wanted < rows.records.len() {
                    rows.records.truncate(wanted);
                }
                if skipped > 0 {
                    rows.records.drain(..skipped);
                    rows.marks.drain(..skipped);
                    rows.places.drain(..skipped);
                }
                let flow = take(&file.path, rows)?;
                ended = flow.is_break() || row >= self.rows.end;
                Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        Ok(())
    }

    /// An error if the id stands in a row in front of `second`: marks may be equal where ids are not.
    fn refuse_repeated(&self, id: &str, reading: ReadContext<'_>, second: &Place) -> Result<(), StageError> {
        let only_id = |column: &Column| Column { fields: Vec::new(), images: false, ..column.clone() };
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), only_id(column))).collect();
        let mut first = None;
        self.each_row(&columns, ReadContext { threads: 1, ..reading }, &mut |file, rows| {
            for (record, row) in rows.records.iter().zip(rows.places) {
                if row == second.row && *file == *second.file {
                    return Ok(ControlFlow::Break(()));
                }
                if *record.id == *id {
                    first = Some(Place { file: file.to_owned(), row });
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(first) = first else { return Ok(()) };
        Err(StageError::failed(format!(
            "{}: the id `{id}` is already that of {}; ids must be unique: name another column in `id`, or none to derive \
             ids from the content",
            self.shown(second),
            self.shown(&first)
        )))
    }

    /// A place for people: lines of text, rows of Parquet.
    fn shown(&self, place: &Place) -> String {
        let is_parquet = self.files.iter().any(|file| file.path == place.file && file.format == Format::Parquet);
        let between = if is_parquet { ": row " } else { ":" };
        format!("{}{between}{}", place.file.display(), place.row)
    }
}
