"""Makes tests/cases/tables: small odd files, each in a folder of its own with `options.json`, what the node `read` is given
beside its files, and `expected.json`: the records, or what is said instead. Needs pyarrow, pillow and zstandard."""

import bz2
import gzip
import io
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from PIL import Image

ROOT = Path(__file__).resolve().parents[2] / "cases" / "tables"


def png(red):
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (red, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE = png(200), png(10)


def image(data):
    """An image in `expected.json`: its type and size."""
    return {"image/png": len(data)}


def record(id, **fields):
    return {"id": id, "fields": fields}


def case(name, files, expected, **options):
    folder = ROOT / name
    folder.mkdir(parents=True)
    for path, data in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    if options:
        (folder / "options.json").write_text(json.dumps(options) + "\n")
    if isinstance(expected, str):
        expected = {"says": expected}
    lines = [json.dumps(row, ensure_ascii=False) for row in expected] if isinstance(expected, list) else None
    text = "[\n" + ",\n".join(lines) + "\n]" if lines else json.dumps(expected, ensure_ascii=False)
    (folder / "expected.json").write_text(text + "\n")


def parquet(columns, **options):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


shutil.rmtree(ROOT, ignore_errors=True)

# JSON lines.
TWO = '{"id": "a", "n": 1, "t": "x"}\n{"id": "b", "n": 2, "t": "ü"}\n'
READ_TWO = [record("a", n=1, t="x"), record("b", n=2, t="ü")]
case("jsonl-plain", {"data.jsonl": TWO}, READ_TWO)
case("jsonl-byte-order-mark-crlf-and-empty-lines",
     {"data.jsonl": "\ufeff" + TWO.replace("\n", "\r\n\r\n  \r\n")}, READ_TWO)
case("jsonl-without-last-newline", {"data.jsonl": TWO.rstrip()}, READ_TWO)
case("jsonl-in-another-order", {"data.jsonl": '{"t":"x","id":"a","n":1}\n{"n":2,"t":"ü","id":"b"}\n'}, READ_TWO)
case("jsonl-gzip", {"data.jsonl.gz": gzip.compress(TWO.encode(), mtime=0)}, READ_TWO)
lines = TWO.encode().splitlines(keepends=True)
case("jsonl-gzip-of-two-members", {"data.gz": b"".join(gzip.compress(line, mtime=0) for line in lines)}, READ_TWO)
case("jsonl-zstandard", {"data.jsonl.zst": zstandard.compress(TWO.encode())}, READ_TWO)
case("jsonl-bzip2", {"data.jsonl.bz2": bz2.compress(TWO.encode())}, READ_TWO)
case("jsonl-gzip-cut-off", {"data.jsonl.gz": gzip.compress(TWO.encode() * 9, mtime=0)[:-9]}, "the file seems to be cut off")
case("jsonl-empty", {"data.jsonl": b""}, [])
case("jsonl-only-space", {"data.jsonl": b"\n \r\n\n"}, [])
case("jsonl-empty-beside-another", {"1.jsonl": b"", "2.jsonl": TWO}, READ_TWO)
case("jsonl-empty-objects", {"data.jsonl": "{}\n{}\n"}, [record("6e46dd10defc"), record("6e46dd10defc-1")])
case("jsonl-missing-values-and-numbers", {"data.jsonl": '{"id": 1, "a": 1}\n{"id": 2, "a": 2.5, "b": [1]}\n{"id": 3}\n'},
     [record("1", a=1.0, b=None), record("2", a=2.5, b=[1]), record("3", a=None, b=None)])
case("jsonl-mixed-column", {"data.jsonl": '{"id": 1, "a": 1}\n{"id": 2, "a": "x"}\n{"id": 3, "a": {"b": [null]}}\n'},
     [record("1", a=1), record("2", a="x"), record("3", a={"b": [None]})])
case("jsonl-escapes", {"data.jsonl": r'{"id": "a\/b", "\u0061": "\ud83d\ude00\u0000\n"}' + "\n"},
     [record("a/b", a="😀\0\n")])
case("jsonl-large-numbers", {"data.jsonl": '{"id": -9223372036854775808, "a": 18446744073709551615}\n'},
     [record("-9223372036854775808", a=18446744073709551615.0)])
case("jsonl-renamed", {"data.jsonl": '{"key": "k", "problem": "p", "more": 1}\n'},
     [record("k", key="k", question="p", copy="p", more=1)], fields={"question": "problem", "copy": "problem"}, id="key")
case("jsonl-offset-and-limit", {"data.jsonl": TWO + '{"id": "c", "n": 1, "t": ""}\n'}, READ_TWO[1:], offset=1, limit=1)
case("jsonl-images-of-all-sorts", {
    "data.jsonl": json.dumps({"id": 1, "i": "pictures/red.png"}) + "\n" + '{"id": 2, "i": null}\n'
                  '{"id": 3, "i": "data:image/png;base64,' + __import__("base64").b64encode(BLUE).decode() + '"}\n',
    "pictures/red.png": RED,
}, [record("1", i=image(RED)), record("2", i=None), record("3", i=image(BLUE))], images=["i"])
case("jsonl-lists-of-images", {"data.jsonl": '{"id": 1, "i": ["red.png", "red.png"]}\n{"id": 2, "i": []}\n', "red.png": RED},
     [record("1", i=[image(RED), image(RED)]), record("2", i=[])], images=["i"])
case("jsonl-error-nan", {"data.jsonl": '{"id": 1, "a": NaN}\n'},
     "data.jsonl:1:16: expected a JSON object on the line: expected value; JSON has no such number, write `null`")
case("jsonl-error-list", {"data.jsonl": '[{"id": 1},\n{"id": 2}]\n'}, "write each row as an object on a line of its own")
case("jsonl-error-pretty-printed", {"data.jsonl": '{\n  "id": 1\n}\n'}, "data.jsonl:1:1: expected a JSON object on the line: "
     "EOF while parsing an object; a row must end on the line on which it begins")
case("jsonl-error-two-objects-on-a-line", {"data.jsonl": '{"id": 1} {"id": 2}\n'}, "data.jsonl:1:11: ")
case("jsonl-error-not-utf-8", {"data.jsonl": b'{"id": 1, "a": "\xff"}\n'}, "data.jsonl:1:")
case("jsonl-error-too-deep", {"data.jsonl": '{"a": ' + "[" * 4000 + "]" * 4000 + "}\n"}, "recursion limit exceeded")
case("jsonl-error-column-twice", {"data.jsonl": '{"id": 1, "a": 1, "a": 2}\n'},
     "data.jsonl:1:21: column `a`: the row has this column twice")
case("jsonl-error-late-kind", {"data.jsonl": '{"id": 1, "a": 1}\n' + "\n" * 3 + '{"id": 2, "a": "x"}\n'},
     "data.jsonl:5:19: column `a`: expected int, found text `\"x\"`", kinds={"a": "int"})
case("jsonl-error-no-id", {"data.jsonl": '{"id": 1}\n{"a": 1}\n'}, "data.jsonl:2: column `id`: expected an id")
case("jsonl-error-repeated-id", {"data.jsonl": '{"id": 1}\n\n{"id": 2}\n{"id": "1"}\n'}, "data.jsonl:4: the id `1` is already that of ")
case("jsonl-error-repeated-id-over-files", {"1.jsonl": '{"id": "x"}\n', "2.jsonl": '{"id": "y"}\n{"id": "x"}\n'},
     "2.jsonl:2: the id `x` is already that of ")
case("jsonl-error-image-missing", {"data.jsonl": '{"id": 1, "i": "gone.png"}\n'}, "gone.png", images=["i"])
case("jsonl-error-utf-16", {"data.jsonl": TWO.encode("utf-16")}, "it is UTF-16 text, which is not supported; save it as UTF-8")
case("jsonl-error-unknown-columns", {"data.jsonl": TWO}, "there is no column `x`", fields={"a": "x"})
case("jsonl-error-unknown-kind", {"data.jsonl": TWO}, "`number` is no kind", kinds={"n": "number"})
case("jsonl-error-columns-differ", {"1.jsonl": TWO, "2.jsonl": '{"id": "c", "n": 3}\n'}, "lacks it")
case("jsonl-error-format", {"data.jsonl": TWO}, "is not Parquet", format="parquet")
case("zip-error", {"data.zip": b"PK\3\4 and more"}, "it is a zip archive, which is not supported; unpack it first")

# CSV.
CSV = 'id,n,x,ok,t\n007,1,0.5,true,"a, ""b""\nc"\n8,,-1e3,False,\n'
READ_CSV = [record("007", n=1, x=0.5, ok=True, t='a, "b"\nc'), record("8", n=None, x=-1000.0, ok=False, t=None)]
case("csv-plain", {"data.csv": CSV}, READ_CSV)
case("csv-byte-order-mark-and-crlf", {"data.csv": "\ufeff" + CSV.replace("\n", "\r\n")},
     [record("007", n=1, x=0.5, ok=True, t='a, "b"\r\nc'), READ_CSV[1]])
case("csv-gzip", {"data.csv.gz": gzip.compress(CSV.encode(), mtime=0)}, READ_CSV)
case("csv-tabs", {"data.tsv": "id\tt\n1\ta,b\n"}, [record("1", t="a,b")])
case("csv-semicolons-by-option", {"data.txt": "id;t\n1;a,b\n"}, [record("1", t="a,b")], format="csv", delimiter=";")
case("csv-header-only", {"data.csv": "id,t\n"}, [])
case("csv-empty", {"data.csv": b""}, [])
case("csv-numbers-that-are-codes", {"data.csv": "id,zip,card,n,u\n1,01234,12345678901234567890,nan,\n2,99999,1,2,\n"},
     [record("1", zip="01234", card="12345678901234567890", n=None, u=None), record("2", zip="99999", card="1", n=2.0, u=None)])
case("csv-kinds-by-option", {"data.csv": 'id,version,tags\n1,1.10,"[""a"", ""b""]"\n'},
     [record("1", version="1.10", tags=["a", "b"])], kinds={"version": "text", "tags": "list<text>"})
case("csv-index-of-pandas", {"data.csv": ",id,a\n0,x,1\n"}, [record("x", **{"unnamed-1": 0, "a": 1})])
case("csv-images", {"data.csv": "id,i\n1,red.png\n2,\n", "red.png": RED}, [record("1", i=image(RED)), record("2", i=None)], images=["i"])
case("csv-error-too-few-cells", {"data.csv": "id,a\n1,2\n3\n"}, "data.csv:3: expected 2 cells, as in the header, found 1")
case("csv-error-too-many-cells", {"data.csv": "id,a\n1,2,3\n"}, "data.csv:2: expected 2 cells, as in the header, found 3")
case("csv-error-column-twice", {"data.csv": "id,a,a\n1,2,3\n"}, "data.csv:1: the header has the column `a` twice")
case("csv-error-not-utf-8", {"data.csv": b"id,a\n1,\xff\n"}, "data.csv:2: column `a`: the text is not UTF-8")
case("csv-error-kind", {"data.csv": "id,a\n1,x\n"}, "data.csv:2: column `a`: expected int, found `\"x\"`", kinds={"a": "int"})
case("csv-error-repeated-id", {"data.csv": "id,a\n1,x\n2,y\n1,z\n"}, "data.csv:4: the id `1` is already that of ")
case("csv-error-delimiter", {"data.csv": CSV}, "expected one character of ASCII", delimiter=";;")

# Parquet.
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
case("parquet-image-feature", {"data.parquet": parquet({
    "id": pa.array(["a", "b", "c"]),
    "image": pa.array([{"bytes": RED, "path": "x.png"}, None, {"bytes": BLUE, "path": None}], IMAGE),
})}, [record("a", image=image(RED)), record("b", image=None), record("c", image=image(BLUE))])
case("parquet-image-by-path", {"data.parquet": parquet({
    "id": pa.array([1, 2]),
    "image": pa.array([{"bytes": None, "path": "pictures/red.png"}, {"bytes": BLUE, "path": "gone.png"}], IMAGE),
}), "pictures/red.png": RED}, [record("1", image=image(RED)), record("2", image=image(BLUE))])
case("parquet-error-image-path-missing", {"data.parquet": parquet({
    "id": pa.array([1]), "image": pa.array([{"bytes": None, "path": "gone.png"}], IMAGE),
})}, "data.parquet: row 1, column `image`: the image is given by its path only")
case("parquet-no-rows", {"data.parquet": parquet({"id": pa.array([], pa.string())})}, [])
case("parquet-under-another-name", {"data.jsonl": parquet({"id": pa.array([3])})}, [record("3")])
case("parquet-error-cut-off", {"data.parquet": parquet({"id": pa.array([3])})[:60]}, "data.parquet` as Parquet")
case("parquet-error-packed", {"data.parquet.gz": gzip.compress(parquet({"id": pa.array([3])}), mtime=0)},
     "it is packed Parquet; unpack it first")
case("parquet-error-repeated-id", {"data.parquet": parquet({"id": pa.array(["x", "y", "x"])})},
     "data.parquet: row 3: the id `x` is already that of ")
