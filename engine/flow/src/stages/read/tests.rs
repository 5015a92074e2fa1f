//! Tests of the kind `read`: names, ids, kinds and what decides the key.

use super::*;
use crate::digest::Digest;
use crate::event::Cancel;
use crate::options::{InputFile, Options};
use crate::record::Value;
use crate::stage::Progress;
use crate::stage::bare::{NoCheckpoint, Notes};
use crate::store::Store;

fn build(files: &[PathBuf], given: Json) -> Result<Stage, Vec<Complaint>> {
    let mut options = Options::over_defaults(OPTIONS, &given);
    let file = |path: &PathBuf| InputFile { path: path.clone(), digest: Digest::of(b"") };
    options.files.insert("path".into(), files.iter().map(file).collect());
    let digest_file = |path: &Path| Ok(Digest::of(&std::fs::read(path).map_err(StageError::io("read", path))?));
    let (schemas, models) = (BTreeMap::new(), BTreeMap::new());
    Read.build(&NodeInput { options: &options, schemas: &schemas, models: &models, digest_file: &digest_file })
}

fn run_source(
    stage: Stage,
    threads: usize,
    folder: &Path,
    progress: &dyn Progress,
    take: &mut dyn FnMut(Vec<Record>),
) -> Result<(), StageError> {
    let Work::Source(source) = stage.work else { panic!("no source") };
    let store = Store::open(&folder.join("store")).unwrap();
    let context = StageContext {
        seed: 0,
        device: "cpu",
        threads,
        blobs: &store,
        checkpoint: &NoCheckpoint,
        progress,
        scratch: folder,
        cancel: &Cancel::default(),
    };
    source.read(&context, &mut |records| {
        take(records);
        Ok(())
    })
}

fn each_batch(
    stage: Stage,
    threads: usize,
    folder: &Path,
    take: &mut dyn FnMut(Vec<Record>),
) -> Result<(), StageError> {
    run_source(stage, threads, folder, &Notes(|_: &str| {}), take)
}

fn read_stage(stage: Stage, threads: usize, folder: &Path) -> Result<Vec<Record>, StageError> {
    let mut all = Vec::new();
    each_batch(stage, threads, folder, &mut |records| all.extend(records))?;
    Ok(all)
}

fn read(files: &[PathBuf], given: Json, folder: &Path) -> Result<Vec<Record>, StageError> {
    read_stage(build(files, given).unwrap_or_else(|complaints| panic!("{complaints:?}")), 1, folder)
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
    assert!(error.contains("2.jsonl:1:11: column `id`"), "{error}");
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

/// A value as `expected.json` has it: an image as its type and size.
fn shown(value: &Value) -> Json {
    match value {
        Value::Blob(blob) => json!({ &*blob.media_type: blob.bytes }),
        Value::List(values) => values.iter().map(shown).collect(),
        Value::Map(values) => values.iter().map(|(name, value)| (name.clone(), shown(value))).collect(),
        other => other.to_json(),
    }
}

/// What reading gives, as `expected.json` has it.
fn outcome(files: &[PathBuf], options: &Json, threads: usize, folder: &Path) -> Result<Json, String> {
    let stage = build(files, options.clone()).map_err(|complaints| format!("{complaints:?}"))?;
    let names: BTreeSet<String> = stage.schemas["records"].keys().cloned().collect();
    let records = read_stage(stage, threads, folder).map_err(|error| error.to_string())?;
    let record = |record: Record| {
        assert!(record.fields.keys().map(|name| &**name).eq(names.iter().map(String::as_str)), "{record:?}");
        let fields: Json = record.fields.iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
        json!({ "id": &*record.id, "fields": fields })
    };
    Ok(records.into_iter().map(record).collect())
}

#[test]
fn odd_files_read_as_expected_or_say_where_they_are_wrong() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/tables");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 60);
    let json = |path: &Path| serde_json::from_slice::<Json>(&std::fs::read(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for folder in folders {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.is_file() && !path.ends_with("expected.json") && !path.ends_with("options.json"));
        files.retain(|path| path.extension().is_none_or(|extension| extension != "png"));
        files.sort();
        let options = folder.join("options.json");
        let options = if options.exists() { json(&options) } else { json!({}) };
        let expected = json(&folder.join("expected.json"));
        for threads in [1, 3] {
            let scratch = tempfile::tempdir().unwrap();
            let found = outcome(&files, &options, threads, scratch.path());
            let fits = match (&found, expected["says"].as_str()) {
                (Ok(records), None) => *records == expected,
                (Err(message), Some(says)) => message.replace("\\\"", "\"").contains(says),
                _ => false,
            };
            if !fits {
                wrong.push(format!("{}: expected {expected}, found {found:?}", folder.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn threads_and_blocks_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let row = |index: usize| {
        // Some rows are longer than a block, some repeat.
        let text = "x".repeat(if index % 700 == 3 { 40_000 } else { index % 90 });
        format!("{{\"a\": {}, \"text\": \"{text}\"}}\n", index % 4000)
    };
    let text: String = (0..9000).map(row).collect();
    let files = [
        file(folder.path(), "1.jsonl", &text),
        file(folder.path(), "2.jsonl", text[..text.len() / 2].rsplit_once('\n').unwrap().0),
    ];
    let read = |threads| {
        let stage = build(&files, json!({ "offset": 77, "limit": 11_000 })).unwrap_or_else(|_| panic!("it fits"));
        read_stage(stage, threads, folder.path()).unwrap()
    };
    let one = read(1);
    assert_eq!(one.len(), 11_000);
    assert_eq!(one.iter().map(|record| &record.id).collect::<BTreeSet<_>>().len(), one.len());
    for threads in [2, 5] {
        assert!(read(threads) == one, "{threads} threads");
    }
}

#[test]
fn an_error_far_down_comes_after_the_rows_in_front_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..50_000).map(|index| format!("{{\"id\": {index}}}\n")).collect();
    let path = [file(folder.path(), "1.jsonl", &format!("{text}nothing\n{text}"))];
    for threads in [1, 4] {
        let mut count = 0;
        let stage = build(&path, json!({})).unwrap_or_else(|_| panic!("it fits"));
        let error = each_batch(stage, threads, folder.path(), &mut |records| count += records.len()).unwrap_err();
        assert!(error.to_string().contains("1.jsonl:50001:2: expected a JSON object"), "{error}");
        assert!(count > 49_000 && count <= 50_000, "{count}");
        let stage = build(&path, json!({ "limit": 50_000 })).unwrap_or_else(|_| panic!("it fits"));
        assert_eq!(read_stage(stage, threads, folder.path()).unwrap().len(), 50_000);
    }
}

#[test]
fn content_ids_are_those_of_the_fields_json() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"b\": [1, 2.5, null], \"a\": \"ü\\n\", \"c\": {\"x\": true}}\n";
    let path = [file(folder.path(), "1.jsonl", text)];
    for record in read(&path, json!({}), folder.path()).unwrap() {
        assert_eq!(*record.id, Digest::of_json(&record.fields).short());
    }
}

#[test]
fn a_column_that_comes_late_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..1200).map(|index| format!("{{\"id\": {index}}}\n")).collect();
    let path = [file(folder.path(), "1.jsonl", &format!("{text}{{\"id\": -1, \"late\": 3}}\n"))];
    let notes = std::sync::Mutex::new(Vec::new());
    let stage = build(&path, json!({})).unwrap_or_else(|_| panic!("it fits"));
    run_source(stage, 1, folder.path(), &Notes(|note: &str| notes.lock().unwrap().push(note.to_owned())), &mut |_| {})
        .unwrap();
    let notes = notes.into_inner().unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("1.jsonl:1201: the column `late` is left out"), "{notes:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(400))]

    /// Whatever the bytes are, there is an answer.
    #[test]
    fn any_bytes_are_read_or_refused(
        start in proptest::sample::select(vec![
            &b""[..], b"{\"id\": 1, \"a\": ", b"id,a\n1,", b"PAR1", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xef\xbb\xbf{",
        ]),
        bytes in proptest::collection::vec(
            proptest::prop_oneof![proptest::sample::select(b"{}[]\",:\n\r\\tu0-1.eNnul \xff".to_vec()), proptest::num::u8::ANY], 0..120),
        name in proptest::sample::select(vec!["x.jsonl", "x.csv", "x.parquet", "x.tsv.gz"]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, [start, &bytes].concat()).unwrap();
        let _ = outcome(&[path], &json!({}), 2, folder.path());
    }

    /// Parquet that was damaged anywhere is read or refused.
    #[test]
    fn damaged_parquet_is_read_or_refused(place in 0usize..8000, byte in proptest::num::u8::ANY, cut in proptest::bool::ANY) {
        let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/table/types.parquet");
        let mut bytes = std::fs::read(reference).unwrap();
        let place = place % bytes.len();
        if cut { bytes.truncate(place) } else { bytes[place] = byte }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, bytes).unwrap();
        let _ = outcome(&[path], &json!({}), 1, folder.path());
    }
}
