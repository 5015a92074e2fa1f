"""The filter in datatrove: usage `filter_datatrove.py WORKERS OUT FILE...`, a file for each worker; prints the seconds of the work."""

import sys
import time
from pathlib import Path


def main(workers: int, out: str, files: list[str]) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    folder = Path(files[0]).parent
    pipeline = [
        JsonlReader(str(folder), glob_pattern="*.jsonl", add_file_path=False),
        LambdaFilter(lambda document: document.metadata["score"] >= 0.5),
        LambdaFilter(lambda document: document.metadata["lang"] == "en"),
        LambdaFilter(lambda document: len(document.text) < 120),
        JsonlWriter(out, output_filename="${rank}.jsonl", compression=None, expand_metadata=True),
    ]
    begin = time.perf_counter()
    # Its log goes into the fresh output folder: nothing of an earlier run is skipped.
    LocalPipelineExecutor(pipeline, tasks=workers, workers=workers, logging_dir=out + "-log", start_method="fork").run()
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
