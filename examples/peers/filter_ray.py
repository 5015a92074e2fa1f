"""The filter in Ray Data: usage `filter_ray.py WORKERS OUT FILE...`; prints the seconds of the work, Ray's start left out.

The first two filters are expressions, which Ray evaluates over whole Arrow blocks; the third is a function over a block.
"""

import os
import sys
import time


def main(workers: int, out: str, files: list[str]) -> None:
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    import pyarrow.compute as compute
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", object_store_memory=2 << 30)
    ray.data.DataContext.get_current().enable_progress_bars = False
    begin = time.perf_counter()
    rows = ray.data.read_json(files)
    rows = rows.filter(expr="score >= 0.5").filter(expr="lang == 'en'")
    rows = rows.map_batches(
        lambda table: table.filter(compute.less(compute.utf8_length(table["text"]), 120)), batch_format="pyarrow"
    )
    rows.write_json(out)
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
