//! Tests of the kind `read`: names, ids, kinds and what decides the key.

use super::*;
use crate::digest::Digest;
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
    let digest_file = |path: &Path| Ok(Digest::of(&std::fs::read(path).map_err(StageError::io("read", path))?));
    let (schemas, models) = (BTreeMap::new(), BTreeMap::new());
    Read.build(&NodeInput { options: &options, schemas: &schemas, models: &models, digest_file: &digest_file })
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
