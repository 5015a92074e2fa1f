"""Makes types.parquet, a table with the column types that real data sets use, and types.jsonl, the values that the
engine must read from it. Needs pyarrow and pillow."""

import datetime
import decimal
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

buffer = io.BytesIO()
Image.new("RGB", (2, 2), (200, 30, 30)).save(buffer, "PNG")
png = buffer.getvalue()

image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
table = pa.table({
    "id": pa.array([1, 2, 3], pa.int32()),
    "text": pa.array(["a", None, "ü"], pa.large_string()),
    "view": pa.array(["a", "b", None], pa.string_view()),
    "word": pa.array(["x", "y", "x"]).dictionary_encode(),
    "small": pa.array([1, -2, None], pa.int8()),
    "unsigned": pa.array([1, 2**63, 3], pa.uint64()),
    "half": pa.array([0.5, None, float("nan")], pa.float32()),
    "money": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("3.00")], pa.decimal128(10, 2)),
    "right": pa.array([True, False, None]),
    "day": pa.array([datetime.date(2024, 2, 29), None, datetime.date(1969, 12, 31)]),
    "nothing": pa.nulls(3),
    "list": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
    "fixed": pa.array([[1.0, 2.0], [3.0, 4.0], None], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": ["x"]}, {"a": None, "b": []}, None]),
    "records": pa.array([[{"a": 1}], [], None], pa.large_list(pa.struct([("a", pa.int64())]))),
    "image": pa.array([{"bytes": png, "path": "x.png"}, {"bytes": None, "path": None}, None], image),
    "images": pa.array([[{"bytes": png, "path": None}], [], None], pa.list_(image)),
    "raw": pa.array([png, b"no image", None], pa.binary()),
})
pq.write_table(table, "types.parquet", row_group_size=2)

PNG, RAW = {"image/png": len(png)}, {"application/octet-stream": 8}
columns = {
    "id": [1, 2, 3],
    "text": ["a", None, "ü"],
    "view": ["a", "b", None],
    "word": ["x", "y", "x"],
    "small": [1, -2, None],
    "unsigned": [1, 2.0**63, 3],
    "half": [0.5, None, None],
    "money": [1.25, None, 3.0],
    "right": [True, False, None],
    "day": ["2024-02-29", None, "1969-12-31"],
    "nothing": [None, None, None],
    "list": [[1, 2], [], None],
    "fixed": [[1.0, 2.0], [3.0, 4.0], None],
    "struct": [{"a": 1, "b": ["x"]}, {"a": None, "b": []}, None],
    "records": [[{"a": 1}], [], None],
    "image": [PNG, None, None],
    "images": [[PNG], [], None],
    "raw": [PNG, RAW, None],
}
with open("types.jsonl", "w") as file:
    for row in range(3):
        file.write(json.dumps({name: values[row] for name, values in columns.items()}, ensure_ascii=False) + "\n")
