"""The filter in Hugging Face `datasets`, which caches each step: usage `filter_datasets.py WORKERS OUT FILE...`; prints
the seconds of the work. The cache is the folder of the variable HF_HOME.
"""

import sys
import time


def main(workers: int, out: str, files: list[str]) -> None:
    import datasets

    datasets.disable_progress_bars()
    processes = workers if workers > 1 else None
    begin = time.perf_counter()
    rows = datasets.load_dataset("json", data_files=files, split="train", num_proc=processes)
    rows = rows.filter(lambda batch: [score >= 0.5 for score in batch["score"]], batched=True, num_proc=processes)
    rows = rows.filter(lambda batch: [lang == "en" for lang in batch["lang"]], batched=True, num_proc=processes)
    rows = rows.filter(lambda batch: [len(text) < 120 for text in batch["text"]], batched=True, num_proc=processes)
    rows.to_json(out + "/rows.jsonl", num_proc=processes)
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
