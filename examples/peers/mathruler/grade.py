"""Grades pairs with mathruler and says what it took, for examples/grade_speed.

    python -m venv /tmp/mathruler && /tmp/mathruler/bin/pip install mathruler==0.1.0 sympy==1.14.0 pylatexenc==2.11
    /tmp/mathruler/bin/python examples/peers/mathruler/grade.py tests/reference/grading/public.jsonl --seconds 10

Prints one JSON object: versions, and for each pair in order the verdict and the processor's seconds, or null where mathruler
gives no answer in time. It has no time limit of its own, so pairs are graded in a process that can be ended.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import select
import subprocess
import sys
import time


def work() -> None:
    """Grades the pairs that come in, one line each."""
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    from mathruler.grader import extract_boxed_content, grade_answer

    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr
    grade_answer("x+1", "1+x")  # what is loaded at first use is no part of a pair
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        pair = json.loads(line)
        begin = time.process_time()
        prediction = pair["prediction"]
        if pair.get("mode") == "response":
            prediction = extract_boxed_content(prediction)
        verdict = bool(grade_answer(prediction, pair["truth"]))
        print(json.dumps([verdict, time.process_time() - begin]), file=answers, flush=True)


def start() -> subprocess.Popen:
    command = [sys.executable, __file__, "--worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if worker.stdout.readline() != b"ready\n":
        raise SystemExit("mathruler does not start: is it installed beside this Python?")
    return worker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        return work()
    results = []
    worker = start()
    with open(arguments.file, encoding="utf-8") as pairs:
        for line in pairs:
            worker.stdin.write(line.strip().encode() + b"\n")
            worker.stdin.flush()
            ready, _, _ = select.select([worker.stdout], [], [], arguments.seconds)
            answer = worker.stdout.readline() if ready else b""
            if answer:
                results.append(json.loads(answer))
                continue
            results.append(None)
            worker.kill()
            worker.wait()
            worker = start()
    worker.stdin.close()
    versions = {name: importlib.metadata.version(name) for name in ("mathruler", "sympy", "pylatexenc")}
    print(json.dumps({"python": platform.python_version(), "versions": versions, "results": results}))


if __name__ == "__main__":
    main()
