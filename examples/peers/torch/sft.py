"""Measures steps of SFT: `sft_speed` and torch with transformers on one checkpoint, in turns in one run.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install torch transformers
    cargo build --release --example sft_speed
    /tmp/peers/bin/python examples/peers/torch/sft.py MODEL_DIR [--turns N] [--steps N] [--sides a,b]

A step is forward, backward, the gradients' norm clipped to 1, AdamW in f32: 16 rows of 128 tokens, each with one image of
112 x 112 pixels (16 tokens), the last 64 tokens learned. torch runs with 1 and with 2 threads, and with waiting threads that
sleep (OMP_WAIT_POLICY=PASSIVE), which is faster wherever cores are shared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3] / "target/release/examples/sft_speed"
ROWS, LENGTH, ANSWER, SIDE = 16, 128, 64, 8


def peak_mib() -> float:
    """The most memory that this process held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def peer(folder: str, threads: int) -> None:
    """Takes orders as `sft_speed` does."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    image = model.config.image_token_id
    tokens = (torch.arange(ROWS)[:, None] * 37 + torch.arange(LENGTH)[None] * 101) % 400
    tokens[:, 5 : 5 + SIDE * SIDE // 4] = image
    places = torch.arange(SIDE * SIDE * 1176)[None] * 31 + torch.arange(ROWS)[:, None] * 977
    pixels = torch.sin(places.float()).reshape(ROWS * SIDE * SIDE, 1176)
    labels = tokens.clone()
    labels[:, :ANSWER] = -100
    batch = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == image).int(),
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, SIDE, SIDE]] * ROWS),
    }
    for line in sys.stdin:
        seconds, cpu_seconds, losses = [], [], []
        for _ in range(int(line)):
            begun, cpu = time.perf_counter(), time.process_time()
            optimizer.zero_grad(set_to_none=True)
            model.model.rope_deltas = None
            loss = model(**batch, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - begun)
            cpu_seconds.append(time.process_time() - cpu)
        answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses, "peak_mib": peak_mib()}
        print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--sides", default="ours 2,ours 1,torch 2,torch 1", help="what takes turns: `ours WORKERS`, `torch THREADS`")
    parser.add_argument("--program", default=str(PROGRAM))
    arguments = parser.parse_args()
    running = {}
    for side in arguments.sides.split(","):
        who, threads, *more = side.split()
        command = [sys.executable, __file__, "--peer", arguments.folder, threads]
        if who == "ours":
            command = [arguments.program, arguments.folder, "--workers", threads, *more]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        running[side] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    answers = {side: [] for side in running}
    loads = [os.getloadavg()[0]]
    for turn in range(arguments.turns + 1):
        for side, child in running.items():
            child.stdin.write(f"{arguments.steps if turn else 2}\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                sys.exit(f"`{side}` ended with {child.wait()}")
            if turn:  # the first turn warms up
                answers[side].append(json.loads(line))
            loads.append(os.getloadavg()[0])
    print(f"{'':24} {'median ms':>10} {'best ms':>9} {'CPU s':>7} {'peak MiB':>9} {'last loss':>10}")
    for side, turns in answers.items():
        seconds = [value for turn in turns for value in turn["seconds"]]
        cpu = [value for turn in turns for value in turn["cpu_seconds"]]
        median, best = statistics.median(seconds) * 1e3, min(seconds) * 1e3
        peak, loss = turns[-1]["peak_mib"], turns[-1]["losses"][-1]
        print(f"{side:24} {median:10.1f} {best:9.1f} {statistics.median(cpu):7.3f} {peak:9.0f} {loss:10.6f}")
    print(f"load of the machine: {min(loads):.1f} to {max(loads):.1f}, {os.cpu_count()} cores")
    for child in running.values():
        child.stdin.close()
        child.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(sys.argv[2], int(sys.argv[3]))
    else:
        main()
