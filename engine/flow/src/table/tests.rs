//! Tests of tables: what is written reads back, and what is malformed says where.

use std::ops::ControlFlow;

use serde_json::json;

use super::*;
use crate::record::{Blob, FieldKind, Fields, Value};
use crate::store::Store;

fn store(folder: &Path) -> Store {
    Store::open(&folder.join("store")).unwrap()
}

/// All columns of a file as they stand.
fn columns(file: &TableFile, images: &[String]) -> Result<Columns, StageError> {
    let column = |(name, kind): (String, FieldKind)| {
        let (fields, images) = (vec![name.as_str().into()], images.contains(&name));
        (name, Column { kind, fields, id: false, images })
    };
    Ok(file.schema(images)?.into_iter().map(column).collect())
}

fn rows(path: &Path, images: &[String], store: &Store) -> Result<Vec<Fields>, StageError> {
    let file = TableFile::open(path)?;
    let mut all = Vec::new();
    file.read(&columns(&file, images)?, ReadContext { blobs: store, threads: 2 }, &mut |rows| {
        all.extend(rows.records.into_iter().map(|record| record.fields));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

fn schema_of(path: &Path, images: &[String]) -> Result<Schema, StageError> {
    TableFile::open(path)?.schema(images)
}

fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    ::image::RgbImage::new(2, 2).write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn records(store: &Store) -> Vec<Record> {
    let image = Value::Blob(store.put(&png(), "image/png").unwrap());
    let number = |index: i64| if index % 7 == 0 { Value::Null } else { Value::Float(index as f64 / 3.0) };
    let record = |index: i64| Record {
        id: format!("r{index}").into(),
        fields: Fields::from([
            ("count".into(), Value::Int(index)),
            ("number".into(), number(index)),
            ("image".into(), image.clone()),
            ("text".into(), Value::text(format!("line {index}\nüñ"))),
            ("right".into(), Value::Bool(index % 2 == 0)),
            ("choices".into(), Value::List(vec![Value::text("a"), Value::text("b")])),
            ("images".into(), Value::List(vec![image.clone(); (index % 3) as usize])),
            ("extra".into(), Value::from_json(json!({"a": [1, "x"], "b": null}))),
        ]),
    };
    (0..600).map(record).collect()
}

#[test]
fn parquet_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let written = records(&store);
    let path = folder.path().join("out.parquet");
    write(&path, &Schema::from_iter([("text".to_owned(), FieldKind::Text)]), &written, &store).unwrap();
    let schema = schema_of(&path, &[]).unwrap();
    assert_eq!(schema.keys().take(2).collect::<Vec<_>>(), ["id", "text"]);
    assert_eq!(schema["images"], FieldKind::List(Box::new(FieldKind::Image)));
    assert_eq!((&schema["number"], &schema["extra"]), (&FieldKind::Float, &FieldKind::Text));
    let read = rows(&path, &[], &store).unwrap();
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        for (name, value) in &written.fields {
            match &**name {
                "extra" => assert_eq!(read[name], Value::text(value.to_json().to_string())),
                _ => assert_eq!(read[name], *value, "{name}"),
            }
        }
    }
}

#[test]
fn json_lines_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let written = records(&store);
    let path = folder.path().join("out.jsonl");
    write(&path, &Schema::new(), &written, &store).unwrap();
    let images = ["image".to_owned()];
    let schema = schema_of(&path, &images).unwrap();
    assert_eq!(
        (&schema["image"], &schema["count"], &schema["extra"]),
        (&FieldKind::Image, &FieldKind::Int, &FieldKind::Json)
    );
    let read = rows(&path, &images, &store).unwrap();
    for (read, written) in read.iter().zip(&written) {
        for (name, value) in written.fields.iter().filter(|(name, _)| &***name != "images") {
            assert_eq!(read[name], *value, "{name}");
        }
    }
}

#[test]
fn json_lines_say_where_they_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let digest = "0".repeat(64);
    let unknown =
        serde_json::to_string(&Blob { digest: digest.parse().unwrap(), bytes: 1, media_type: "image/png".into() })
            .unwrap();
    let cases = [
        ("{\"a\": 1}\n\n{\"a\": }\n", ":3:7: expected a JSON object"),
        ("[1]\n", ":1:"),
        ("{\"image\": \"gone.png\"}\n", ":1:21: column `image`: cannot read the image"),
        ("{\"image\": \"data:image/png;base64,***\"}\n", ":1:38: column `image`: a `data:` URI that does not decode"),
        ("{\"image\": 3}\n", ":1:12: column `image`: expected an image's path"),
        (&format!("{{\"a\": {unknown}}}\n"), ": column `a`: it names the blob"),
    ];
    for (text, expected) in cases {
        let path = folder.path().join("in.jsonl");
        std::fs::write(&path, text).unwrap();
        let error = rows(&path, &["image".to_owned()], &store).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let path = folder.path().join("broken.parquet");
    std::fs::write(&path, b"PAR1 and nothing else").unwrap();
    assert!(schema_of(&path, &[]).unwrap_err().to_string().contains("broken.parquet"));
}

#[test]
fn kinds_are_found_from_the_head_and_missing_values_are_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(
        &path,
        "\u{feff}{\"a\": 1, \"b\": [1], \"c\": null}\n{\"a\": 2.5, \"b\": [2.5], \"d\": \"x\"}\n{\"d\": 1}",
    )
    .unwrap();
    let schema = schema_of(&path, &[]).unwrap();
    let kinds: Vec<_> = schema.values().map(ToString::to_string).collect();
    assert_eq!(kinds, ["float", "list<float>", "json", "json"]);
    let rows = rows(&path, &[], &store(folder.path())).unwrap();
    assert_eq!((&rows[0]["a"], &rows[0]["d"], &rows[2]["a"]), (&Value::Float(1.0), &Value::Null, &Value::Null));
}

#[test]
fn the_column_types_of_real_data_sets_are_read() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/table");
    let folder = tempfile::tempdir().unwrap();
    let expected = std::fs::read_to_string(reference.join("types.jsonl")).unwrap();
    let expected = expected.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let read = rows(&reference.join("types.parquet"), &[], &store(folder.path())).unwrap();
    for (row, expected) in read.iter().zip(expected) {
        for (name, value) in row {
            assert_eq!(shown(value), expected[&**name], "{name}");
        }
    }
    let schema = schema_of(&reference.join("types.parquet"), &[]).unwrap();
    let kinds: Vec<_> = ["word", "half", "fixed", "struct", "image", "images", "nothing"]
        .iter()
        .map(|name| schema[*name].to_string())
        .collect();
    assert_eq!(kinds, ["text", "float", "list<float>", "json", "image", "list<image>", "json"]);
}

/// A value as the reference writes it: a blob as its type and size.
fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::Blob(blob) => json!({ &*blob.media_type: blob.bytes }),
        Value::List(values) => values.iter().map(shown).collect(),
        Value::Map(values) => values.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
        other => other.to_json(),
    }
}
