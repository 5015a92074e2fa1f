//! What is written opens in pyarrow, pandas, DuckDB and `datasets`, with the same values. Skipped where Python has no pyarrow;
//! `RUMINATE_PYTHON` names another interpreter than `python3`.

use std::process::Command;

use image::{ImageFormat, Rgb, RgbImage};
use ruminate_flow::record::{FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::Blobs;
use ruminate_flow::store::Store;
use ruminate_flow::table::{WriteFormat, Writer};
use serde_json::json;

use crate::support::{Workplace, root};

/// Enough for several batches, and more than are looked at before the columns are settled.
const ROWS: i64 = 5000;

fn schema() -> Schema {
    let choices = FieldKind::List(Box::new(FieldKind::Text));
    let kinds = [
        ("question", FieldKind::Text),
        ("steps", FieldKind::Int),
        ("score", FieldKind::Float),
        ("right", FieldKind::Bool),
        ("choices", choices),
        ("more", FieldKind::Json),
        ("image", FieldKind::Image),
    ];
    kinds.map(|(name, kind)| (name.to_owned(), kind)).into_iter().collect()
}

/// The rows that `check_exports.py` expects.
fn records(store: &Store) -> Vec<Record> {
    let image = |index: i64| {
        let mut png = std::io::Cursor::new(Vec::new());
        let picture = RgbImage::from_pixel(3, 2, Rgb([200, 30, (index % 250) as u8]));
        picture.write_to(&mut png, ImageFormat::Png).expect("a picture encodes");
        Value::Blob(store.put(png.get_ref(), "image/png").expect("the store takes it"))
    };
    let unless = |absent: bool, value: Value| if absent { Value::Null } else { value };
    let record = |index: i64| {
        let choices = [Value::text("a"), Value::text(format!("b{index}"))];
        let choices = choices.into_iter().take((index % 3) as usize).collect();
        let more = json!({ "n": [index, null], "t": "x" });
        let fields = [
            ("question", Value::text(format!("What is {index}, \"exactly\"?\nü 😀"))),
            ("steps", unless(index % 5 == 0, Value::Int(index - 2500))),
            ("score", unless(index % 7 == 0, Value::Float(index as f64 / 8.0))),
            ("right", Value::Bool(index % 2 == 0)),
            ("choices", Value::List(choices)),
            ("more", Value::from_json(more)),
            ("image", if index % 10 == 3 { image(index) } else { Value::Null }),
        ];
        let fields: Fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Record { id: format!("p{index}").into(), fields }
    };
    (0..ROWS).map(record).collect()
}

#[test]
fn tables_open_in_what_people_open_tables_with() {
    let python = std::env::var("RUMINATE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_pyarrow =
        Command::new(&python).args(["-c", "import pyarrow"]).output().is_ok_and(|ran| ran.status.success());
    if !has_pyarrow {
        println!("skipped: `{python}` has no pyarrow");
        return;
    }
    let workplace = Workplace::new();
    let store = Store::open(&workplace.path("store")).expect("a store");
    let records = records(&store);
    let plain = ["id", "question", "steps", "score", "right", "more"].map(str::to_owned);
    let without_image = [&plain[..], &["choices".to_owned()]].concat();
    let files = [
        ("rows.parquet", None),
        ("rows.jsonl", Some(&without_image[..])),
        ("rows.jsonl.gz", Some(&without_image[..])),
        ("rows.csv", Some(&plain[..])),
    ];
    for (name, fields) in files {
        let path = workplace.path(name);
        let format = WriteFormat::of(&path).expect("a known ending");
        let mut writer = Writer::create(&path, format, &schema(), fields, &store).expect("the folder can be written");
        records.chunks(300).for_each(|records| writer.write(records).expect("the records fit"));
        writer.finish().expect("the file is written");
    }
    let script = root().join("tests/reference/tables/check_exports.py");
    let ran = Command::new(&python).arg(script).arg(workplace.path("")).output().expect("python starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
}
