"""The filter in DuckDB: one SQL query in a vectorised engine in C++, no cache, no Python function: the far end of the scale.
Usage `filter_duckdb.py WORKERS OUT FILE...`; prints the seconds of the work.
"""

import sys
import time


def main(workers: int, out: str, files: list[str]) -> None:
    import duckdb

    begin = time.perf_counter()
    rows = f"read_json({files}, format='newline_delimited')"
    kept = f"SELECT * FROM {rows} WHERE score >= 0.5 AND lang = 'en' AND length(text) < 120"
    connection = duckdb.connect(config={"threads": workers})
    connection.execute(f"COPY ({kept}) TO '{out}/rows.jsonl' (FORMAT json)")
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
