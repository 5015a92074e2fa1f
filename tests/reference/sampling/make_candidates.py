"""Writes candidates.json: which tokens transformers leaves to draw from, and with which probabilities.

    pip install torch transformers
    python tests/reference/sampling/make_candidates.py

Random logits, many with ties, go through transformers' own classes in the order in which `generate` applies them: repetition
penalty, temperature, top-k, top-p. Cases in which a rounding error would decide about a token are left out.
"""

import json
import random
from pathlib import Path

import torch
import transformers
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

COUNT = 160


def case(numbers: random.Random) -> dict | None:
    vocabulary = numbers.choice([3, 8, 24, 40])
    spread = numbers.choice([0.5, 2.0, 6.0])
    logits = torch.tensor([[numbers.gauss(0, spread) for _ in range(vocabulary)]])
    if numbers.random() < 0.6:
        logits = (logits * 2).round() / 2
    elif numbers.random() < 0.1:
        logits = torch.zeros_like(logits)
    logits = (logits * 1000).round() / 1000
    seen = [numbers.randrange(vocabulary) for _ in range(numbers.randrange(1, 6))]
    penalty = numbers.choice([1.0, 1.0, 1.05, 1.3, 0.8])
    temperature = numbers.choice([1.0, 1.0, 0.5, 0.25, 2.0])
    top_k = numbers.choice([None, None, 1, 2, 5, 20, 1000])
    top_p = numbers.choice([1.0, 0.99, 0.9, 0.7, 0.5, 0.1])
    ids, scores = torch.tensor([seen]), logits.clone()
    if penalty != 1.0:
        scores = RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
    if temperature != 1.0:
        scores = TemperatureLogitsWarper(temperature)(ids, scores)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(ids, scores)
    if top_p < 1.0:
        kept = torch.sort(scores.double(), descending=False)[0].softmax(-1).cumsum(-1)
        if ((kept - (1 - top_p)).abs() < 1e-4).any():
            return None
        scores = TopPLogitsWarper(top_p)(ids, scores)
    probabilities = scores.double().softmax(-1)[0]
    kept = [token for token in range(vocabulary) if torch.isfinite(scores[0, token])]
    return {
        "logits": [round(value, 3) for value in logits[0].tolist()],
        "seen": seen,
        "penalty": penalty,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "kept": kept,
        "probabilities": [float(f"{probabilities[token]:.6g}") for token in kept],
    }


def main() -> None:
    numbers = random.Random(5)
    cases: list[dict] = []
    while len(cases) < COUNT:
        made = case(numbers)
        if made is not None:
            cases.append(made)
    head = {"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}"}
    lines = ",\n".join(json.dumps(made) for made in cases)
    path = Path(__file__).with_name("candidates.json")
    path.write_text(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
