"""Opens the tables that tests/it/exports.rs writes with what people open tables with, and checks every value.

    python check_exports.py FOLDER

Needs pyarrow; pandas, DuckDB and `datasets` are used where they are installed. Prints what it used."""

import gzip
import importlib
import io
import json
import math
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

FOLDER = Path(sys.argv[1])
ROWS = 5000
PLAIN = ["id", "question", "steps", "score", "right", "more"]


def row(index):
    """What row `index` holds; `exports.rs` makes the same."""
    return {
        "id": f"p{index}",
        "question": f'What is {index}, "exactly"?\nü 😀',
        "steps": None if index % 5 == 0 else index - 2500,
        "score": None if index % 7 == 0 else index / 8,
        "right": index % 2 == 0,
        "choices": ["a", f"b{index}"][: index % 3],
        "more": {"n": [index, None], "t": "x"},
    }


def optional(module):
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def same(found, expected, place):
    if isinstance(found, float) and math.isnan(found):
        found = None
    assert found == expected, f"{place}: found {found!r}, expected {expected!r}"


def check(rows, columns, source, as_text=("more",)):
    """`as_text`: columns that hold JSON text."""
    assert len(rows) == ROWS, f"{source}: {len(rows)} rows"
    for index, found in enumerate(rows):
        expected = row(index)
        for column in columns:
            value = found[column]
            if column in as_text and isinstance(value, str):
                value = json.loads(value)
            same(value, expected[column], f"{source}, row {index}, {column}")


def none_for_missing(frame):
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def check_pyarrow():
    table = pq.read_table(FOLDER / "rows.parquet")
    assert table.column_names == [*PLAIN[:5], "choices", "more", "image"], table.column_names
    assert table.schema.field("steps").type == pa.int64() and table.schema.field("score").type == pa.float64()
    check(table.to_pylist(), [*PLAIN, "choices"], "pyarrow, Parquet")
    groups = pq.ParquetFile(FOLDER / "rows.parquet").metadata
    assert max(groups.row_group(index).num_rows for index in range(groups.num_row_groups)) <= 1 << 16
    image = table.column("image")[3].as_py()["bytes"]
    assert image.startswith(b"\x89PNG"), image[:8]
    for name in ["rows.jsonl", "rows.jsonl.gz"]:
        data = (FOLDER / name).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
        check(pa.json.read_json(io.BytesIO(data)).to_pylist(), [*PLAIN, "choices"], f"pyarrow, {name}")
    options = pa.csv.ParseOptions(newlines_in_values=True)
    csv = pa.csv.read_csv(FOLDER / "rows.csv", parse_options=options)
    assert csv.column_names == PLAIN, csv.column_names
    check(csv.to_pylist(), PLAIN, "pyarrow, CSV")


def check_pandas(pandas):
    check(none_for_missing(pandas.read_parquet(FOLDER / "rows.parquet", columns=PLAIN)), PLAIN, "pandas, Parquet")
    for name in ["rows.jsonl", "rows.jsonl.gz"]:
        frame = pandas.read_json(FOLDER / name, lines=True)
        check(none_for_missing(frame), [*PLAIN, "choices"], f"pandas, {name}")
    check(none_for_missing(pandas.read_csv(FOLDER / "rows.csv")), PLAIN, "pandas, CSV")


def check_duckdb(duckdb):
    for name in ["rows.parquet", "rows.jsonl", "rows.jsonl.gz", "rows.csv"]:
        columns = ", ".join(f'"{column}"' for column in PLAIN)
        result = duckdb.sql(f"select {columns} from '{FOLDER / name}'")
        check([dict(zip(PLAIN, values)) for values in result.fetchall()], PLAIN, f"DuckDB, {name}")


def check_datasets(datasets):
    cache = str(FOLDER / "cache")
    load = lambda kind, name: datasets.load_dataset(kind, data_files=str(FOLDER / name), split="train", cache_dir=cache)
    table = load("parquet", "rows.parquet")
    assert isinstance(table.features["image"], datasets.Image), table.features
    check(list(table.remove_columns("image")), [*PLAIN, "choices"], "datasets, Parquet")
    if optional("PIL"):
        assert table[3]["image"].size == (3, 2) and table[3]["image"].getpixel((0, 0)) == (200, 30, 3)
        assert table[4]["image"] is None
    for name in ["rows.jsonl", "rows.jsonl.gz"]:
        check(list(load("json", name)), [*PLAIN, "choices"], f"datasets, {name}")
    check(list(load("csv", "rows.csv")), PLAIN, "datasets, CSV")


check_pyarrow()
used = [f"pyarrow {pa.__version__}"]
for module, checked in [("pandas", check_pandas), ("duckdb", check_duckdb), ("datasets", check_datasets)]:
    if library := optional(module):
        checked(library)
        used.append(f"{module} {library.__version__}")
print("opened with " + ", ".join(used))
