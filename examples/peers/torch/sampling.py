"""Sampling by torch and by `ruminate`, in turns in one run: tokens per second, processor seconds and their ratios.

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch transformers
    cargo build --release -p ruminate-ml --example sample_speed
    OMP_WAIT_POLICY=PASSIVE /tmp/torch/bin/python examples/peers/torch/sampling.py MODEL [--turns 5] [--json OUT]

MODEL is a small Qwen2.5-VL in Hugging Face layout whose images are 16 tokens. Both sides complete the same prompts of 48 tokens, an image
each, by 64 tokens in f32 on the CPU: 32 prompts (greedy and drawn), and 8 samples of each of 4 prompts, for which torch has
`num_return_sequences`. torch runs with one and with two threads, in processes of their own, and the better one counts.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = Path(os.environ.get("SAMPLE_SPEED", ROOT / "target/release/examples/sample_speed"))
NEW = 64
# name: rows, samples of a prompt, temperature
CASES = {
    "32 prompts, greedy": (32, 1, 0),
    "32 prompts, drawn": (32, 1, 1),
    "4 prompts x 8 samples": (32, 8, 1),
}


def serve(model_folder: str, threads: int) -> None:
    """The torch side: a case per line of standard input, a JSON object per line of output."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="sdpa")
    model.eval()
    config = json.loads((Path(model_folder) / "config.json").read_text())
    image, start, end = (config[name] for name in ("image_token_id", "vision_start_token_id", "vision_end_token_id"))

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    for line in sys.stdin:
        rows, group, temperature = (int(number) for number in line.split())
        count = rows // group
        numbers = torch.Generator().manual_seed(1)
        tokens = torch.randint(0, 400, (count, 48), generator=numbers)
        tokens[:, 4], tokens[:, 5:21], tokens[:, 21] = start, image, end
        inputs = {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "mm_token_type_ids": (tokens == image).int(),
            "pixel_values": torch.randn(count * 64, 1176, generator=numbers),
            "image_grid_thw": torch.tensor([[1, 8, 8]] * count),
        }
        draw = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
        model.model.rope_deltas = None
        wall, used = time.perf_counter(), cpu()
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, num_return_sequences=group, **draw)
        wall, used = time.perf_counter() - wall, cpu() - used
        assert tuple(out.shape) == (rows, 48 + NEW)
        print(json.dumps({"tokens": rows * NEW, "seconds": wall, "cpu_seconds": used}), flush=True)


class Side:
    """A process that runs cases on request."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.runs: dict[str, list[dict]] = {}

    def run(self, case: str, line: str, keep: bool) -> None:
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        measured = json.loads(self.child.stdout.readline())
        if keep:
            self.runs.setdefault(case, []).append(measured)

    def middle(self, case: str, name: str) -> float:
        return statistics.median(run[name] for run in self.runs[case])

    def best(self, case: str) -> float:
        return min(run["seconds"] for run in self.runs[case])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.model, arguments.serve)
        return
    itself = [sys.executable, __file__, arguments.model, "--serve"]
    ours = Side("ruminate", [str(EXAMPLE), arguments.model])
    peers = [Side(f"torch, {threads} thread(s)", [*itself, str(threads)]) for threads in (1, 2)]
    for turn in range(arguments.turns + 1):
        for case, (rows, group, temperature) in CASES.items():
            ours.run(case, f"{rows} {group} {NEW} {temperature} 1", turn > 0)
            for peer in peers:
                peer.run(case, f"{rows} {group} {temperature}", turn > 0)
    print(f"load {os.getloadavg()[0]:.1f}, {arguments.turns} turns; tokens/s of the best turn, median seconds and processor seconds")
    report = []
    for case, (rows, _, _) in CASES.items():
        print(case)
        for side in [ours, *peers]:
            best, wall, cpu = side.best(case), side.middle(case, "seconds"), side.middle(case, "cpu_seconds")
            print(f"  {side.name:20} {rows * NEW / best:8.0f} tokens/s   {wall:.3f} s   {cpu:.3f} cpu-s")
        fastest = min(peer.best(case) for peer in peers)
        median = min(peer.middle(case, "seconds") for peer in peers)
        leanest = min(peer.middle(case, "cpu_seconds") for peer in peers)
        ratios = {
            "best": fastest / ours.best(case),
            "median": median / ours.middle(case, "seconds"),
            "cpu": leanest / ours.middle(case, "cpu_seconds"),
        }
        print("  faster than torch's better: " + ", ".join(f"{value:.2f}x ({name})" for name, value in ratios.items()))
        report.append({"case": case, "ratios": ratios, "runs": {side.name: side.runs[case] for side in [ours, *peers]}})
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    for side in [ours, *peers]:
        side.child.stdin.close()
        side.child.wait()


if __name__ == "__main__":
    main()
