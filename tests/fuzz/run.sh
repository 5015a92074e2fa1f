#!/bin/sh
# Builds a fuzz target with a stable compiler and runs it: `tests/fuzz/run.sh [SECONDS [graph|grade]]` (default 60 graph). The options
# are those of cargo-fuzz, without the address sanitizer, which needs a nightly compiler; `unsafe` is denied in the engine.
# A unit may take long by the clock where the machine is busy: it runs with the lowest priority.
# The corpus of `graph` begins with the repository's graphs, right ones and broken ones, and with seeds, that of `grade` with the
# reference pairs. A finding lies in artifacts.
set -eu
cd "$(dirname "$0")"
seconds="${1:-60}"
name="${2:-graph}"
target="$(rustc -vV | sed -n 's/^host: //p')"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code"
mkdir -p "corpus/$name" "artifacts/$name"
if [ "$name" = grade ]; then
    cargo build --release --target "$target" --no-default-features --bin grade
    python3 - ../reference/grading/public.jsonl corpus/grade <<'PYTHON'
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    pair = json.loads(line)
    if len(pair["prediction"]) < 500:
        with open(f"{sys.argv[2]}/{pair['id']}", "wb") as file:
            file.write(pair["prediction"].encode() + b"\xff" + pair["truth"].encode())
PYTHON
else
    cargo build --release --target "$target" --bin graph
    # The kinds and files of the target stand for those of the graphs.
    for graph in ../../graphs/*.toml ../cases/graph-errors/*/graph.toml seeds/*.toml; do
        sed -E -e 's#"[^"]*\.(jsonl|parquet)"#"data.jsonl"#' -e 's#"[^"]*/models[^"]*"#"model"#' \
            -e 's#"(caption|wasm|filter-shortest-correct)"#"reasoning-sample"#' -e 's#"(grpo|eval)"#"sft"#' \
            "$graph" >"corpus/graph/$(echo "$graph" | tr -d . | tr / _)"
    done
fi
exec nice -n 19 "target/$target/release/$name" "$PWD/corpus/$name" -dict="$name.dict" \
    -artifact_prefix="$PWD/artifacts/$name/" \
    -max_len=8192 -timeout=120 -rss_limit_mb=2048 -max_total_time="$seconds" -print_final_stats=1
