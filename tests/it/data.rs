//! The data set in examples/data is what its maker makes, in the layout that `datasets` loads, and its splits share nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use crate::support::{Workplace, files, root};

fn folder() -> PathBuf {
    root().join("examples/data/visual-math")
}

/// An example's program, which `cargo test` builds beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("target/release").join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo test --release` without a filter on targets", path.display());
    path
}

#[test]
fn the_maker_makes_the_same_bytes() {
    let workplace = Workplace::new();
    let out = workplace.path("data");
    let ran = Command::new(example("make_visual_math")).arg("--out").arg(&out).output().expect("the example starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let committed = files(&folder(), ".parquet");
    assert_eq!(committed.len(), files(&out, ".parquet").len());
    let mut bytes = 0;
    for path in committed {
        let ours = std::fs::read(&path).expect("the data can be read");
        bytes += ours.len();
        let made = std::fs::read(out.join(path.file_name().unwrap())).expect("the maker made it");
        assert!(ours == made, "{} is not what the maker makes", path.display());
    }
    assert!(bytes <= 8_000_000, "{bytes} bytes are too many to commit");
}

#[test]
fn the_schema_names_the_image_feature() {
    for path in files(&folder(), ".parquet") {
        let file = std::fs::File::open(&path).expect("the data can be opened");
        let schema = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet").schema().clone();
        let features = schema.metadata().get("huggingface").expect("`huggingface` is in the schema's metadata");
        let features: Json = serde_json::from_str(features).expect("it is JSON");
        assert_eq!(features["info"]["features"]["image"]["_type"], "Image", "{features}");
    }
}

#[test]
fn splits_are_of_the_promised_size_and_share_no_picture() {
    let workplace = Workplace::new();
    let mut of_split = BTreeMap::new();
    for split in ["train", "val", "test"] {
        let path = folder().join(format!("{split}-*.parquet"));
        let graph = format!("[nodes.rows]\nkind = \"read\"\npath = {path:?}\n");
        let graph = workplace.write(&format!("{split}.toml"), &graph);
        let graph = graph.to_str().unwrap();
        workplace.ruminate(&["run", graph, "--quiet"]).expect(0);
        let rows = workplace.ruminate(&["show", graph, "rows", "--json", "--limit", "100000"]).expect(0).json_lines();
        let text = |row: &Json, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let values = |name: &str| rows.iter().map(|row| text(row, name)).collect::<BTreeSet<_>>();
        assert_eq!(values("id").len(), rows.len(), "ids are unique");
        assert_eq!(
            values("answer_type"),
            BTreeSet::from(["choice", "decimal", "integer", "yes/no"].map(str::to_owned))
        );
        assert!(values("family").len() >= 5);
        let pictures: BTreeSet<String> = rows.iter().map(|row| text(&row["image"], "blob")).collect();
        of_split.insert(split, (rows.len(), pictures));
    }
    assert_eq!((of_split["val"].0, of_split["test"].0), (1000, 1000));
    for (one, other) in [("train", "val"), ("train", "test"), ("val", "test")] {
        assert!(of_split[one].1.is_disjoint(&of_split[other].1), "{one} and {other} share a picture");
    }
}
