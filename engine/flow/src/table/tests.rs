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

/// Writes the records in pieces of this size and gives the file's bytes.
fn written(
    path: &Path,
    schema: &Schema,
    fields: Option<&[String]>,
    records: &[Record],
    piece: usize,
    store: &Store,
) -> Result<Vec<u8>, StageError> {
    let mut writer = Writer::create(path, WriteFormat::of(path).unwrap(), schema, fields, store)?;
    records.chunks(piece).try_for_each(|piece| writer.write(piece))?;
    assert_eq!(writer.finish()?, records.len() as u64);
    Ok(std::fs::read(path).unwrap())
}

/// Records without images, enough of them to settle the columns while they come.
fn many(count: i64) -> (Schema, Vec<Record>) {
    let record = |index: i64| Record {
        id: format!("{index:05}").into(),
        fields: Fields::from([
            ("text".into(), Value::text(format!("\"{index}\", ü\n"))),
            ("score".into(), if index % 3 == 0 { Value::Null } else { Value::Float(index as f64 / 7.0) }),
            ("lang".into(), Value::text("en")),
            ("right".into(), Value::Bool(index % 2 == 0)),
        ]),
    };
    let schema = [("text", FieldKind::Text), ("score", FieldKind::Float), ("lang", FieldKind::Text)];
    (schema.map(|(name, kind)| (name.to_owned(), kind)).into_iter().collect(), (0..count).map(record).collect())
}

#[test]
fn a_writer_gives_the_same_bytes_however_records_come_and_they_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (count, names) in
        [(9000, &["x.jsonl", "x.jsonl.gz", "x.csv", "x.tsv.zst", "x.parquet"][..]), (3, &["x.csv", "x.parquet"])]
    {
        let (schema, records) = many(count);
        for name in names {
            let path = folder.path().join(name);
            let whole = written(&path, &schema, None, &records, records.len(), &store).unwrap();
            assert_eq!(
                schema_of(&path, &[]).unwrap().keys().collect::<Vec<_>>(),
                ["id", "text", "score", "lang", "right"]
            );
            let read = rows(&path, &[], &store).unwrap();
            assert_eq!(read.len(), records.len());
            for (read, record) in read.iter().zip(&records) {
                assert!(
                    record.fields.iter().all(|(field, value)| read[field] == *value),
                    "{name}: {record:?}, {read:?}"
                );
            }
            for piece in [1, 7, 256, 5000] {
                assert!(written(&path, &schema, None, &records, piece, &store).unwrap() == whole, "{name} by {piece}");
            }
        }
    }
}

#[test]
fn only_the_fields_asked_for_are_written_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (schema, records) = many(2);
    let fields = ["lang", "id", "right", "gone"].map(str::to_owned);
    let text = |name| {
        let bytes = written(&folder.path().join(name), &schema, Some(&fields), &records, 1, &store).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(text("x.csv"), "lang,id,right,gone\nen,00000,true,\nen,00001,false,\n");
    assert!(text("x.jsonl").starts_with("{\"lang\":\"en\",\"id\":\"00000\",\"right\":true,\"gone\":null}\n"));
    written(&folder.path().join("x.parquet"), &schema, Some(&fields), &records, 1, &store).unwrap();
    assert_eq!(
        schema_of(&folder.path().join("x.parquet"), &[]).unwrap().keys().collect::<Vec<_>>(),
        ["lang", "id", "right", "gone"]
    );
}

#[test]
fn what_does_not_fit_the_columns_is_told_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let (schema, records) = many(5000);
    let with = |name: &str, value: Value| {
        let mut records = records.clone();
        records[4500].fields.insert(name.into(), value);
        records
    };
    let cases = [
        ("x.parquet", with("score", Value::text("high")), "record `04500`: field `score`: expected float"),
        ("x.parquet", with("late", Value::Int(1)), "record `04500`: none of the first records has its field `late`"),
        ("x.csv", with("late", Value::Int(1)), "record `04500`: none of the first records has its field `late`"),
    ];
    for (name, records, expected) in cases {
        let error = written(&out.join(name), &schema, None, &records, 100, &store).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{name}");
    }
    // JSON lines take it, and so does CSV, whose cells have no kind.
    written(&out.join("x.jsonl"), &schema, None, &with("late", Value::Int(1)), 100, &store).unwrap();
    written(&out.join("x.csv"), &schema, None, &with("score", Value::text("high")), 100, &store).unwrap();
    // A column of kind `json` that begins with texts takes other values as JSON text.
    let schema = Schema::from_iter([("text".to_owned(), FieldKind::Json)]);
    let path = out.join("x.parquet");
    written(&path, &schema, None, &with("text", Value::List(vec![Value::Int(1)])), 100, &store).unwrap();
    let read = rows(&path, &[], &store).unwrap();
    assert_eq!((&read[4500]["text"], &read[0]["text"]), (&Value::text("[1]"), &records[0].fields["text"]));
}

#[test]
fn names_say_the_format() {
    let format =
        |name: &str| WriteFormat::of(Path::new(name)).map(|format| format!("{:?} {:?}", format.format, format.packing));
    let cases = [
        ("a.jsonl", Some("Jsonl Plain")),
        ("b/a.x.NDJSON.GZ", Some("Jsonl Gzip")),
        ("a.csv.zst", Some("Csv { delimiter: 44 } Zstd")),
        ("a.tsv", Some("Csv { delimiter: 9 } Plain")),
        ("a.parquet", Some("Parquet Plain")),
        ("a.parquet.gz", None),
        ("a.json", None),
        (".csv", None),
        ("a", None),
        ("..", None),
    ];
    for (name, expected) in cases {
        assert_eq!(format(name).as_deref(), expected, "{name}");
    }
}
