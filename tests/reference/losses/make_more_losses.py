#!/usr/bin/env python3
"""More cases in the form of losses.json, from TRL's own code in other configurations. usage: make_more_losses.py OUT.json

Takes the functions of make_losses.py beside it: other clips, weights, inputs with long rows, empty rows and far ratios, a
`delta` inside the clip, sequence-level ratios under every aggregation, groups of one, micro-batches of unequal length.
"""

import collections
import json
import sys
from pathlib import Path

source = Path(__file__).with_name("make_losses.py").read_text(encoding="utf-8")
exec(source[: source.index("F = lambda")])  # the functions, without the cases

F = lambda tensor: tensor.tolist()
generator = torch.Generator().manual_seed(2024)
normal = lambda *shape: torch.randn(*shape, generator=generator)
out = {"trl": trl.__version__, "advantages": [], "grpo_inputs": {}, "grpo": [], "accumulated": [], "sft_inputs": {}, "sft": []}


def trl_advantages(rewards, size, scale):
    """The lines of `_compute_advantages`, with TRL's nanstd."""
    grouped = rewards.view(-1, size)
    advantages = rewards - torch.nanmean(grouped, dim=1).repeat_interleave(size)
    if scale == "batch":
        std = nanstd(rewards).expand_as(rewards) if rewards.numel() > 1 else torch.zeros_like(rewards)
    elif size > 1:
        std = nanstd(grouped, dim=1).repeat_interleave(size)
    else:
        std = torch.zeros_like(rewards)
    return advantages / (std + 1e-4) if scale != "none" else advantages


for name, rewards, size in [
    ("ones", [1.0, 0.25, 0.0, 2.0], 1),
    ("one", [0.7], 1),
    ("negative", [-1.0, -2.5, 0.5, 0.5, 0.5, 0.5], 3),
    ("large", [1e4, 1e4 + 1, 1e4 - 3, 1e4 + 2], 4),
    ("equal_thirds", [0.1] * 6 + [1 / 3, 1 / 3, 2 / 3], 3),
]:
    for scale in ("group", "none", "batch"):
        advantages = trl_advantages(torch.tensor(rewards), size, scale)
        out["advantages"].append(dict(name=name, rewards=rewards, group_size=size, scale_rewards=scale, advantages=F(advantages)))


def inputs(name, B, T, V, lengths, spread, far, temperature):
    logits, ids = normal(B, T, V) * 2, torch.randint(0, V, (B, T), generator=generator)
    mask = (torch.arange(T)[None] < torch.tensor(lengths)[:, None]).double()
    base = token_logps(logits, ids, temperature)
    old, ref, adv = base + normal(B, T) * spread, base + normal(B, T) * far, normal(B)
    adv[0] = 0.0
    out["grpo_inputs"][name] = dict(
        B=B, T=T, V=V, temperature=temperature, logits=F(logits.flatten(0, 1)), completion_ids=ids.tolist(),
        completion_mask=mask.long().tolist(), old_logps=F(old), ref_logps=F(ref), advantages=F(adv), logps=F(base),
    )
    return logits, ids, mask, old, ref, adv, temperature


cases = {
    "long": inputs("long", 4, 11, 4, [11, 1, 7, 4], 0.2, 0.3, 1.0),
    "far_T1.3": inputs("far_T1.3", 6, 3, 3, [3, 2, 3, 0, 1, 3], 2.5, 2.0, 1.3),
}
default = dict(loss_type="grpo", beta=0.0, eps_low=0.2, eps_high=0.2, delta=None, is_level="token", accum=1, steps_per_generation=1,
               max_completion_length=16, num_items_in_batch=0.0)
variants = [dict(loss_type=kind, **more) for kind in ("grpo", "bnpo", "dr_grpo", "dapo") for more in (
    dict(eps_low=0.05, eps_high=0.5, beta=0.2, max_completion_length=11),
    dict(eps_low=1.0, eps_high=3.0, delta=8.0),
    dict(eps_low=0.1, eps_high=0.4, delta=1.2, beta=1e-3),
    dict(is_level="sequence", eps_low=0.01, eps_high=0.02, beta=0.04),
    dict(accum=3, steps_per_generation=2, beta=0.01, on_policy=True),
)] + [dict(loss_type="cispo", eps_high=high, beta=beta, is_level=level, accum=2, steps_per_generation=2)
      for high, beta, level in ((1.0, 0.0, "token"), (1.28, 0.05, "token"), (5.0, 0.0, "token"), (1.02, 0.0, "sequence"))]


def run(logits, ids, mask, old, ref, adv, temperature, variant, items):
    config = {**default, **{name: value for name, value in variant.items() if name != "on_policy"}, "num_items_in_batch": items}
    old = None if variant.get("on_policy") else old
    ref = ref if config["beta"] else None
    x = logits.clone().requires_grad_()
    # TRL takes log-probabilities out of the logits itself; their own gradient is read off a leaf in between.
    leaf = token_logps(x, ids, temperature).detach().requires_grad_()
    plain, _, _ = grpo(leaf, old, ref, adv, mask, config)
    plain.backward()
    loss, metrics = trl_grpo(x, ids, old, ref, adv, mask, config, temperature)
    loss.backward()
    assert abs(plain.item() - loss.item()) < 1e-12, (plain, loss)
    through = torch.autograd.grad(token_logps(x2 := logits.clone().requires_grad_(), ids, temperature), x2, leaf.grad)[0]
    assert (through - x.grad).abs().max() < 1e-12
    metrics = {name: value for name, value in metrics.items() if isinstance(value, float) and not math.isnan(value)}
    return dict(config=config, use_old_logps=old is not None, loss=loss.item(), grad_logps=F(leaf.grad),
                grad_logits_row0=F(x.grad[0]), trl_metrics=metrics)


for name, case in cases.items():
    for variant in variants:
        items = float(case[2].sum()) * variant.get("steps_per_generation", 1) / variant.get("accum", 1) * 1.25
        out["grpo"].append(dict(input=name, **run(*case, variant, items)))

# Two micro-batches of as many rows and other lengths: what TRL adds up over an accumulation window.
for kind in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo"):
    logits, ids, mask, old, ref, adv, temperature = cases["long"]
    variant = dict(loss_type=kind, accum=2, steps_per_generation=2, beta=0.05, eps_high=1.3 if kind == "cispo" else 0.3)
    parts = [run(*(tensor[rows] for tensor in (logits, ids, mask, old, ref, adv)), temperature, variant, float(mask.sum()))
             for rows in (slice(0, 2), slice(2, 4))]
    out["accumulated"].append(dict(input="long", config=parts[0]["config"], loss=sum(part["loss"] for part in parts),
                                   grad_logps=[row for part in parts for row in part["grad_logps"]]))

for name, lengths, labels in [("sharp", (2, 5, 7), [[-100, 2, 2, 6, -100], [0, 1, -100, -100, 3]]), ("one_token", (1, 2, 3), [[-100, 1]])]:
    logits, labels = normal(*lengths) * 6, torch.tensor(labels)
    out["sft_inputs"][name] = dict(logits=[F(row) for row in logits], labels=labels.tolist())
    for kind in ("nll", "dft"):
        for items in (None, 5, 1000):
            x = logits.clone().requires_grad_()
            loss, metrics = trl_sft(x, labels, kind, items)
            loss.backward()
            assert abs(loss.item() - sft(logits, labels, kind, items).item()) < 1e-12
            out["sft"].append(dict(input=name, loss_type=kind, num_items_in_batch=items, loss=loss.item(),
                                   grad_logits=[F(row) for row in x.grad], trl_metrics=metrics))
for name, value in out["grpo_inputs"].items():
    B, T = value["B"], value["T"]
    value["logits"] = [value["logits"][row * T : (row + 1) * T] for row in range(B)]

# AdamW with other numbers, the norm clipped to another limit or hardly.
traces = []
for lr, betas, eps, decay, limit in [(1e-3, (0.9, 0.95), 1e-6, 0.1, 0.5), (0.05, (0.0, 0.99), 1e-8, 0.0, 1e9)]:
    parameter = torch.nn.Parameter(torch.linspace(-2, 3, 7))
    optimizer = torch.optim.AdamW([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    start, trace = parameter.tolist(), []
    for step in range(8):
        gradient = torch.cos(torch.arange(7.0) * (step + 2)) * 10 ** (step % 4 - 2)
        parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_([parameter], limit).item()
        optimizer.step()
        trace.append(dict(step=step + 1, raw_grad=F(gradient), total_norm=norm, param=F(parameter.detach())))
    traces.append(dict(lr=lr, betas=list(betas), eps=eps, weight_decay=decay, max_grad_norm=limit, init=start, trace=trace))
out["adamw_traces"] = traces
optimizer = lambda: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
out["schedules"] = [
    dict(schedule=kind, warm_up=warm_up, total=total, factors=[make(optimizer(), warm_up, total).lr_lambdas[0](step) for step in range(total + 1)])
    for kind, make in (
        ("cosine", transformers.get_cosine_schedule_with_warmup),
        ("linear", transformers.get_linear_schedule_with_warmup),
        ("constant", lambda optimizer, warm_up, _: transformers.get_constant_schedule_with_warmup(optimizer, warm_up)),
    )
    for warm_up, total in ((0, 5), (1, 1), (2, 7), (7, 7), (9, 4), (0, 0))
]
json.dump(out, open(sys.argv[1], "w"), separators=(",", ":"))
print(len(out["grpo"]), "grpo", len(out["accumulated"]), "accumulated", len(out["sft"]), "sft")
