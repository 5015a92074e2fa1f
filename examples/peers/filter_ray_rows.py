"""The filter in Ray Data by Python functions over rows, as a filter of one's own is written: see filter_ray.py."""

import sys
import time


def main(workers: int, out: str, files: list[str]) -> None:
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", object_store_memory=2 << 30)
    ray.data.DataContext.get_current().enable_progress_bars = False
    begin = time.perf_counter()
    rows = ray.data.read_json(files)
    rows = rows.filter(lambda row: row["score"] >= 0.5)
    rows = rows.filter(lambda row: row["lang"] == "en")
    rows = rows.filter(lambda row: len(row["text"]) < 120)
    rows.write_json(out)
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
