"""The filter in distilabel: usage `filter_distilabel.py WORKERS OUT FILE...`; prints the seconds of the work. A step is a
process of its own, batches go between them through queues; more workers do not apply.
"""

import json
import sys
import time

from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromFileSystem, StepInput, step


@step(inputs=["score"])
def good(rows: StepInput):
    yield [row for row in rows if row["score"] >= 0.5]


@step(inputs=["lang"])
def english(rows: StepInput):
    yield [row for row in rows if row["lang"] == "en"]


@step(inputs=["text"])
def short(rows: StepInput):
    yield [row for row in rows if len(row["text"]) < 120]


def main(out: str, files: list[str]) -> None:
    begin = time.perf_counter()
    with Pipeline(name="filter", cache_dir=out + "-cache") as pipeline:
        load = LoadDataFromFileSystem(data_files=files[0], filetype="json", batch_size=5000)
        steps = [make(input_batch_size=5000) for make in (good, english, short)]
        load >> steps[0] >> steps[1] >> steps[2]
    kept = pipeline.run(use_cache=False)["default"]["train"]
    with open(out + "/rows.jsonl", "w", encoding="utf-8") as file:
        for row in kept:
            row.pop("distilabel_metadata", None)
            file.write(json.dumps(row) + "\n")
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3:])
