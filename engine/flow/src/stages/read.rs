//! The kind `read`: records from Parquet and JSON lines. What the files look like inside is [`crate::table`]'s.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::digest::{Digest, DigestBuilder};
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Fields, Record, Schema, Value};
use crate::stage::{Complaint, Kind, NodeInput, Port, Source, Stage, StageContext, Work};
use crate::table;

/// The kind `read`.
pub(super) struct Read;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "path",
        OptionKind::Files,
        "Parquet or JSON lines files: a path, a glob, or a list of these. All must have the same columns.",
    ),
    OptionSpec::new(
        "fields",
        OptionKind::TextMap,
        "{}",
        "Renames columns: new name = column. Other columns keep their names; one whose name is taken over is left out.",
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
        "Columns of JSON lines that hold images: paths relative to the data file, or `data:` URIs. Images in Parquet need no mention.",
    ),
];
const OUTPUTS: &[Port] = &[Port::records("records", "the rows")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(rename = "path")]
    _path: Json,
    fields: IndexMap<String, String>,
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
        "reads records from Parquet or JSON lines"
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
        let settings: Settings =
            node.options.read().map_err(|message| vec![Complaint { option: None, message, help: None }])?;
        let files: Vec<PathBuf> =
            node.options.files.get("path").into_iter().flatten().map(|file| file.path.clone()).collect();
        let mut images = settings.images.clone();
        for image in &mut images {
            if let Some(column) = settings.fields.get(image) {
                image.clone_from(column);
            }
        }
        let columns = columns_of(&files, &images).map_err(|message| vec![Complaint::about("path", message)])?;
        let complaints = unknown_columns(&settings, &images, &columns);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let identity =
            image_identity(&files, &images).map_err(|error| vec![Complaint::about("images", error.to_string())])?;
        let id = settings
            .id
            .or_else(|| settings.fields.get("id").cloned())
            .or_else(|| columns.contains_key("id").then(|| "id".to_owned()));
        let fields = fields_of(&settings.fields, &columns);
        let schema = fields.iter().map(|field| (field.name.to_string(), field.kind.clone())).collect();
        let source = ReadSource {
            files,
            images,
            fields,
            id,
            limit: settings.limit.unwrap_or(u64::MAX),
            offset: settings.offset,
        };
        Ok(Stage {
            version: 1,
            identity,
            reads: BTreeMap::new(),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            keeps: None,
            seeded: false,
            uses_device: false,
            work: Work::Source(Box::new(source)),
        })
    }
}

/// The columns that all files have.
fn columns_of(files: &[PathBuf], images: &[String]) -> Result<Schema, String> {
    let mut columns: Option<(Schema, &PathBuf)> = None;
    for path in files {
        let schema = table::schema_of(path, images).map_err(|error| error.to_string())?;
        let Some((known, first)) = &mut columns else {
            columns = Some((schema, path));
            continue;
        };
        let names = |schema: &Schema| schema.keys().cloned().collect::<IndexSet<_>>();
        if let Some(name) = names(known).symmetric_difference(&names(&schema)).next() {
            let (has, lacks) = if known.contains_key(name) { (&**first, path) } else { (path, &**first) };
            return Err(format!(
                "files must have the same columns: `{}` has `{name}`, `{}` lacks it",
                has.display(),
                lacks.display()
            ));
        }
        for (name, kind) in known.iter_mut() {
            let other = &schema[name];
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
    }
    columns.map(|(schema, _)| schema).ok_or_else(|| "no file is given".to_owned())
}

fn unknown_columns(settings: &Settings, images: &[String], columns: &Schema) -> Vec<Complaint> {
    let named = settings.fields.values().map(|column| ("fields", column));
    let named = named
        .chain(settings.id.iter().map(|column| ("id", column)))
        .chain(images.iter().map(|column| ("images", column)));
    let available: Vec<_> = columns.keys().map(|column| format!("`{column}`")).collect();
    named
        .filter(|(_, column)| !columns.contains_key(*column))
        .map(|(option, column)| Complaint {
            option: Some(option.to_owned()),
            message: format!("there is no column `{column}`"),
            help: Some(format!("the columns are {}", available.join(", "))),
        })
        .collect()
}

/// A digest over the bytes of the image files that the rows name: they decide the result as the data files do.
fn image_identity(files: &[PathBuf], images: &[String]) -> Result<Json, StageError> {
    if images.is_empty() {
        return Ok(Json::Null);
    }
    let mut digest = DigestBuilder::default();
    for path in files {
        for image in table::image_files(path, images)? {
            let file = std::fs::File::open(&image).map_err(StageError::io("read the image", &image))?;
            digest.part(Digest::of_reader(file).map_err(StageError::io("read the image", &image))?.bytes());
        }
    }
    Ok(json!({ "image files": digest.finish() }))
}

/// A field of the records and the column that it comes from.
struct FieldOf {
    name: Arc<str>,
    column: String,
    kind: FieldKind,
}

/// The fields in the order of the columns. A record's id is no field.
fn fields_of(renames: &IndexMap<String, String>, columns: &Schema) -> Vec<FieldOf> {
    let mut fields = Vec::new();
    for (column, kind) in columns {
        let mut names: Vec<&String> =
            renames.iter().filter(|(_, from)| *from == column).map(|(name, _)| name).collect();
        if names.is_empty() && !renames.contains_key(column) {
            names.push(column);
        }
        let names = names.into_iter().filter(|name| *name != "id");
        fields.extend(names.map(|name| FieldOf {
            name: name.as_str().into(),
            column: column.clone(),
            kind: kind.clone(),
        }));
    }
    fields
}

struct ReadSource {
    files: Vec<PathBuf>,
    images: Vec<String>,
    fields: Vec<FieldOf>,
    /// The column with the ids; without one they derive from the content.
    id: Option<String>,
    limit: u64,
    offset: u64,
}

impl Source for ReadSource {
    fn read(
        &self,
        context: &StageContext<'_>,
        emit: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut row = 0;
        let mut repeated = HashMap::new();
        let end = self.offset.saturating_add(self.limit);
        for path in &self.files {
            let before = row;
            let mut enough = row >= end;
            let read = table::read(path, &self.images, context.blobs, &mut |rows| {
                let mut records = Vec::with_capacity(rows.len());
                for fields in rows {
                    if (self.offset..end).contains(&row) {
                        let place = || format!("{}: row {}", path.display(), row - before + 1);
                        records.push(self.record(fields, &mut repeated, &place)?);
                    }
                    row += 1;
                }
                emit(records)?;
                // Enough is no error, but only an error gets out of the reader.
                enough = row >= end;
                if enough { Err(StageError::failed("enough rows")) } else { Ok(()) }
            });
            if enough {
                return Ok(());
            }
            read?;
        }
        Ok(())
    }
}

impl ReadSource {
    fn record(
        &self,
        mut row: Fields,
        repeated: &mut HashMap<String, u64>,
        place: &dyn Fn() -> String,
    ) -> Result<Record, StageError> {
        let id = match &self.id {
            None => None,
            Some(column) => Some(match row.get(column.as_str()) {
                Some(Value::Text(id)) if !id.is_empty() => id.clone(),
                Some(Value::Int(id)) => id.to_string().into(),
                other => {
                    let found = other.unwrap_or(&Value::Null).to_json();
                    return Err(StageError::failed(format!(
                        "{}: column `{column}`: expected an id, a text or whole number, not `{found}`",
                        place()
                    )));
                }
            }),
        };
        let mut fields = Fields::new();
        for (index, field) in self.fields.iter().enumerate() {
            // Fields of one column stand side by side; the last of them takes the value.
            let shared = self.fields.get(index + 1).is_some_and(|next| next.column == field.column);
            let column = field.column.as_str();
            let value = if shared { row.get(column).cloned() } else { row.remove(column) };
            fields.insert(field.name.clone(), table::as_kind(value.unwrap_or(Value::Null), &field.kind));
        }
        let id = id.unwrap_or_else(|| {
            let content = Digest::of_json(&fields).short();
            let count = repeated.entry(content.clone()).or_default();
            *count += 1;
            if *count == 1 { content.into() } else { format!("{content}-{}", *count - 1).into() }
        });
        Ok(Record { id, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Cancel;
    use crate::options::{InputFile, Options};
    use crate::stage::{Checkpoint, Progress};
    use crate::store::Store;

    struct Nothing;

    impl Checkpoint for Nothing {
        fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
            Ok(None)
        }
        fn save(&self, _: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
            Ok(())
        }
    }

    impl Progress for Nothing {
        fn report(&self, _: u64, _: Option<u64>, _: &'static str, _: &str) {}
        fn note(&self, _: &str) {}
    }

    fn build(files: &[PathBuf], given: Json) -> Result<Stage, Vec<Complaint>> {
        let mut options = Options::default();
        for spec in OPTIONS {
            let default = spec.default.map_or(Json::Null, |text| serde_json::from_str(text).unwrap());
            options.values.insert(spec.name.to_owned(), given.get(spec.name).cloned().unwrap_or(default));
        }
        let file = |path: &PathBuf| InputFile { path: path.clone(), digest: Digest::of(b"") };
        options.files.insert("path".into(), files.iter().map(file).collect());
        Read.build(&NodeInput { options: &options, schemas: &BTreeMap::new(), models: &BTreeMap::new() })
    }

    fn read(files: &[PathBuf], given: Json, folder: &std::path::Path) -> Result<Vec<Record>, StageError> {
        let stage = build(files, given).unwrap_or_else(|complaints| panic!("{complaints:?}"));
        let Work::Source(source) = stage.work else { panic!("no source") };
        let store = Store::open(&folder.join("store")).unwrap();
        let context = StageContext {
            seed: 0,
            device: "cpu",
            threads: 1,
            blobs: &store,
            checkpoint: &Nothing,
            progress: &Nothing,
            scratch: folder,
            cancel: &Cancel::default(),
        };
        let mut all = Vec::new();
        source.read(&context, &mut |records| {
            all.extend(records);
            Ok(())
        })?;
        Ok(all)
    }

    fn file(folder: &std::path::Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn rows_are_renamed_cut_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(
            folder.path(),
            "1.jsonl",
            "{\"id\": 7, \"problem\": \"p\", \"image\": \"x\"}\n{\"id\": 8, \"problem\": \"q\", \"image\": \"x\"}\n",
        );
        let two = file(folder.path(), "2.jsonl", "{\"id\": 9, \"problem\": \"r\", \"image\": \"y\"}\n");
        let files = [one, two];
        let fields = json!({ "question": "problem", "copy": "problem", "image": "id" });
        let all = read(&files, json!({ "fields": fields, "offset": 1, "limit": 2 }), folder.path()).unwrap();
        assert_eq!(all.iter().map(|record| &*record.id).collect::<Vec<_>>(), ["8", "9"]);
        let names: Vec<_> = all[1].fields.keys().map(|name| &**name).collect();
        assert_eq!((names, all[1].text("copy")), (vec!["copy", "image", "question"], Some("r")));
        let stage = build(&files, json!({})).unwrap_or_else(|_| panic!("it fits"));
        assert_eq!(stage.schemas["records"].keys().collect::<Vec<_>>(), ["problem", "image"]);
        let complaints = build(&files, json!({ "fields": { "a": "gone" }, "id": "none" })).err().unwrap();
        assert_eq!(complaints.len(), 2);
        assert_eq!(complaints[0].help.as_deref(), Some("the columns are `id`, `problem`, `image`"));
    }

    #[test]
    fn ids_from_content_are_stable_and_unique() {
        let folder = tempfile::tempdir().unwrap();
        let path = [file(folder.path(), "1.jsonl", "{\"a\": 1}\n{\"a\": 2}\n{\"a\": 1}\n")];
        let ids: Vec<_> = read(&path, json!({}), folder.path()).unwrap().into_iter().map(|record| record.id).collect();
        assert_eq!(*ids[2], format!("{}-1", ids[0]));
        assert_ne!(ids[0], ids[1]);
        let path = [file(folder.path(), "2.jsonl", "{\"id\": null, \"a\": 1}\n")];
        let error = read(&path, json!({}), folder.path()).unwrap_err().to_string();
        assert!(error.contains("2.jsonl: row 1: column `id`"), "{error}");
    }

    #[test]
    fn files_must_agree_and_images_decide_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let one = file(folder.path(), "1.jsonl", "{\"a\": 1, \"b\": null}\n");
        let two = file(folder.path(), "2.jsonl", "{\"a\": 1.5, \"b\": \"x\"}\n");
        let stage = build(&[one.clone(), two], json!({})).unwrap_or_else(|_| panic!("it fits"));
        assert_eq!(stage.schemas["records"].values().map(ToString::to_string).collect::<Vec<_>>(), ["float", "text"]);
        let other = file(folder.path(), "3.jsonl", "{\"a\": \"text\", \"c\": 1}\n");
        assert!(build(&[one, other], json!({})).err().unwrap()[0].message.contains("must have the same columns"));
        let images = [file(folder.path(), "4.jsonl", "{\"image\": \"x.png\"}\n")];
        file(folder.path(), "x.png", "one");
        let identity = || build(&images, json!({ "images": ["image"] })).unwrap_or_else(|_| panic!("it fits")).identity;
        let before = identity();
        assert_eq!(before, identity());
        file(folder.path(), "x.png", "two");
        assert_ne!(before, identity());
    }
}
