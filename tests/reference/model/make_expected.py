#!/usr/bin/env python3
"""Golden outputs of transformers' Qwen2.5-VL on the tiny random models. usage: make_expected.py MODELDIR OUTDIR [caseA,caseB]
One safetensors per case + expected.json (text, ids, loss, grad norms, generation, tolerances)."""
import json, os, sys, math
import numpy as np, torch, transformers
from PIL import Image
from safetensors.torch import save_file
import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl as M
from transformers import Qwen2_5_VLForConditionalGeneration, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_window_index, get_vision_position_ids
MODEL, OUT = sys.argv[1], sys.argv[2]; ONLY = sys.argv[3].split(",") if len(sys.argv) > 3 else None
IMG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "images", "png")
os.makedirs(OUT, exist_ok=True); torch.manual_seed(0); torch.set_num_threads(2); torch.use_deterministic_algorithms(True)
GEN = 24

def U(*parts): return {"role": "user", "content": [({"type": "image", "image": p[4:]} if p.startswith("img:") else {"type": "text", "text": p}) for p in parts]}
def A(t): return {"role": "assistant", "content": t}
def Sy(t): return {"role": "system", "content": t}
CASES = {
 "c1_text": dict(batch=[[U("What is 3 + 4? Reason step by step."), A("3 + 4 = 7, so the answer is \\boxed{7}.")]]),
 "c2_one_odd": dict(batch=[[U("img:shapes_97x61", "How many squares are there?"), A("There are two: \\boxed{2}.")]]),
 "c3_downscaled": dict(batch=[[Sy("You count things. R\u00e9ponds bri\u00e8vement \u2014 \u4f60\u597d."), U("Look: ", "img:grad_211x143", " Is it red?"), A("Yes."), U("Are you sure?"), A("I'm sure. \\boxed{\\text{Yes}}")]]),
 "c4_two_images": dict(batch=[[U("First: ", "img:noise_45x70", " second: ", "img:checker_83x83", " Which is regular?"), A("The second one.")]]),
 "c5_extreme": dict(batch=[[U("img:shapes_300x9", "Describe the image."), A("A thin strip.")]]),
 "c6_batch_left": dict(side="left", batch=[[U("Hello"), A("Hi.")], [U("img:noise_61x205", "Describe it."), A("It is noise; \\boxed{0} dots.")], [U("img:shapes_112x112", "img:shapes_97x61", "Compare."), A("They differ in size.")]]),
 "c7_batch_right": dict(side="right", batch=[[U("img:gray_L_90x50", "Gray?"), A("Yes.")], [U("Only text here, no image at all."), A("Fine, \\boxed{-3/4}.")], [U("img:noise_42x70_tie", "What?"), A("Noise."), U("img:grad_1x150", "And this?"), A("A line.")]]),
}
tok = AutoTokenizer.from_pretrained(MODEL)
from tokenizers import Tokenizer
rawtok = Tokenizer.from_file(f"{MODEL}/tokenizer.json")
pp = json.load(open(f"{MODEL}/preprocessor_config.json"))
ip = Qwen2VLImageProcessorPil(**{k: v for k, v in pp.items() if k not in ("image_processor_type", "processor_class")})
TRAIN = open(f"{MODEL}/chat_template_training.jinja").read()
IMTOK, PAD = tok.convert_tokens_to_ids("<|image_pad|>"), tok.convert_tokens_to_ids("<|endoftext|>")

def encode(msgs, add_gen=False):
    """-> ids, labels, images (the <|image_pad|> is expanded to t*h*w/4 copies BEFORE tokenising, as HF's processor does)"""
    names = [c["image"] for m in msgs if isinstance(m["content"], list) for c in m["content"] if c["type"] == "image"]
    imgs = [Image.open(f"{IMG}/{n}.png") for n in names]
    feats = [ip(images=[im], return_tensors="pt") for im in imgs]
    text = tok.apply_chat_template(msgs, tokenize=False, add_generation_prompt=add_gen)
    t2 = tok.apply_chat_template(msgs, chat_template=TRAIN, tokenize=False, add_generation_prompt=add_gen); assert text == t2, (text, t2)
    parts = text.split("<|image_pad|>"); assert len(parts) == len(imgs) + 1
    full = parts[0]
    for f, p in zip(feats, parts[1:]): full += "<|image_pad|>" * int(f["image_grid_thw"][0].prod() // 4) + p
    ids = tok(full)["input_ids"]; assert ids == rawtok.encode(full, add_special_tokens=False).ids
    # labels: everything between '<|im_start|>assistant\n' and the newline after <|im_end|> inclusive (TRL's convention)
    lab, i, S, E = [-100] * len(ids), 0, tok.convert_tokens_to_ids("<|im_start|>"), tok.convert_tokens_to_ids("<|im_end|>")
    head = tok("<|im_start|>assistant\n")["input_ids"]
    while i < len(ids):
        if ids[i:i + len(head)] == head:
            j = i + len(head)
            while j < len(ids):
                lab[j] = ids[j]
                if ids[j] == E:
                    if j + 1 < len(ids): lab[j + 1] = ids[j + 1]
                    break
                j += 1
            i = j
        i += 1
    return ids, lab, names, feats, text, full

def pad(rows, val, side):
    n = max(map(len, rows)); return torch.tensor([([val] * (n - len(r)) + r) if side == "left" else (r + [val] * (n - len(r))) for r in rows])

def build(batch, side, add_gen=False):
    enc = [encode(m, add_gen) for m in batch]
    ids = pad([e[0] for e in enc], PAD, side); mask = pad([[1] * len(e[0]) for e in enc], 0, side); lab = pad([e[1] for e in enc], -100, side)
    fs = [f for e in enc for f in e[3]]
    d = dict(input_ids=ids, attention_mask=mask, mm_token_type_ids=(ids == IMTOK).int())
    if fs: d |= dict(pixel_values=torch.cat([f["pixel_values"] for f in fs]), image_grid_thw=torch.cat([f["image_grid_thw"] for f in fs]))
    return d, lab, enc

def load(attn, dtype=torch.float32):
    m = Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32, attn_implementation=attn).eval(); return m.to(dtype)

def run(m, inp, lab, hidden=False):
    m.zero_grad(set_to_none=True); m.model.rope_deltas = None
    out = m(**inp, labels=lab, output_hidden_states=hidden, use_cache=False); out.loss.backward()
    return out, {n: p.grad for n, p in m.named_parameters() if p.grad is not None}

class F64:       # the same graph wholly in float64 (HF casts to float32 in norms, softmax, vision rope, loss); inv_freq stays as HF computes it
    def __enter__(s):
        s.o = (M.Qwen2_5_VLRMSNorm.forward, M.eager_attention_forward, M.apply_rotary_pos_emb_vision, transformers.loss.loss_utils.ForCausalLMLoss)
        def norm(self, x): return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))
        def att(module, q, k, v, attention_mask, scaling, dropout=0.0, **kw):
            k, v = M.repeat_kv(k, module.num_key_value_groups), M.repeat_kv(v, module.num_key_value_groups)
            w = q @ k.transpose(2, 3) * scaling
            if attention_mask is not None: w = w + attention_mask
            return (w.softmax(-1) @ v).transpose(1, 2).contiguous(), w
        def rv(q, k, cos, sin):
            cos, sin = cos.unsqueeze(-2).double(), sin.unsqueeze(-2).double(); return q * cos + M.rotate_half(q) * sin, k * cos + M.rotate_half(k) * sin
        M.Qwen2_5_VLRMSNorm.forward, M.eager_attention_forward, M.apply_rotary_pos_emb_vision = norm, att, rv
    def __exit__(s, *a): M.Qwen2_5_VLRMSNorm.forward, M.eager_attention_forward, M.apply_rotary_pos_emb_vision, _ = s.o

meta = {"transformers": transformers.__version__, "torch": torch.__version__, "model": os.path.basename(MODEL.rstrip("/")), "cases": {}}
eager, sdpa = load("eager"), load("sdpa")
worst = {"logits": 0.0, "vision": 0.0, "loss": 0.0, "grad_rel": 0.0, "logits_vs_f64": 0.0, "vision_vs_f64": 0.0, "loss_vs_f64": 0.0, "grad_rel_vs_f64": 0.0}
def mx(a, b): return (a.double() - b.double()).abs().max().item()
for name, c in CASES.items():
    if ONLY and name not in ONLY: continue
    side = c.get("side", "right"); inp, lab, enc = build(c["batch"], side); T = {}
    for k, v in inp.items(): T[k] = v.contiguous()
    T["labels"] = lab
    has = "pixel_values" in inp
    out, grads = run(eager, inp, lab, hidden=True); out2, grads2 = run(sdpa, inp, lab)
    if has:
        pos, delta = eager.model.get_rope_index(inp["input_ids"], mm_token_type_ids=inp["mm_token_type_ids"], image_grid_thw=inp["image_grid_thw"], attention_mask=inp["attention_mask"])
        T["position_ids"], T["rope_deltas"] = pos.contiguous(), delta
        vis = eager.model.visual(inp["pixel_values"], grid_thw=inp["image_grid_thw"], output_hidden_states=True)
        vis2 = sdpa.model.visual(inp["pixel_values"], grid_thw=inp["image_grid_thw"])
        T["vision_features"] = vis.pooler_output.detach().clone()
        vc = eager.config.vision_config
        wi, cw = get_vision_window_index(inp["image_grid_thw"], vc.spatial_merge_size, vc.window_size, vc.patch_size)
        T["window_index"], T["cu_window_seqlens"] = wi, cw.long()
        T["vision_rope_hw"] = get_vision_position_ids(inp["image_grid_thw"], vc.spatial_merge_size).contiguous()
        if name == "c2_one_odd":
            for i, h in enumerate(vis.hidden_states): T[f"vision_hidden.{i}"] = h.detach().clone()
    if name in ("c1_text", "c2_one_odd", "c6_batch_left"):
        for i, h in enumerate(out.hidden_states): T[f"lm_hidden.{i}"] = h.detach().clone()
    T["logits"] = out.logits.detach().clone(); live = inp["attention_mask"].bool()
    with F64():
        d64 = load("eager", torch.float64); inp64 = {k: (v.double() if v.is_floating_point() else v) for k, v in inp.items()}
        d64.zero_grad(); o64 = d64(**inp64, use_cache=False)
        l64 = torch.nn.functional.cross_entropy(o64.logits[:, :-1].reshape(-1, o64.logits.shape[-1]), lab[:, 1:].reshape(-1), ignore_index=-100); l64.backward()
        g64 = {n: p.grad for n, p in d64.named_parameters() if p.grad is not None}
        v64 = d64.model.visual(inp64["pixel_values"], grid_thw=inp["image_grid_thw"]).pooler_output if has else None
    rel = lambda a, b: max(((a[n].double() - b[n].double()).norm() / (b[n].double().norm() + 1e-12)).item() for n in b if b[n].norm() > 1e-7)
    dif = {"logits": mx(out.logits[live], out2.logits[live]), "loss": abs(out.loss.item() - out2.loss.item()), "grad_rel": rel(grads2, grads), "vision": mx(vis.pooler_output, vis2.pooler_output) if has else 0.0,
           "logits_vs_f64": mx(out.logits[live], o64.logits[live]), "loss_vs_f64": abs(out.loss.item() - l64.item()), "grad_rel_vs_f64": rel(grads, g64), "vision_vs_f64": mx(vis.pooler_output, v64) if has else 0.0}
    for k, v in dif.items(): worst[k] = max(worst[k], v)
    # generation, prompts = all but the last assistant turn; left padding
    ginp, _, genc = build([m[:-1] for m in c["batch"]], "left", add_gen=True)
    def gen(m): m.model.rope_deltas = None; return m.generate(**ginp, max_new_tokens=GEN, min_new_tokens=GEN, do_sample=False, return_dict_in_generate=True, output_logits=True, output_scores=True)
    with torch.no_grad(): g1, g2 = gen(eager), gen(sdpa)
    n0 = ginp["input_ids"].shape[1]; new = g1.sequences[:, n0:]; assert torch.equal(new, g2.sequences[:, n0:])
    sc = torch.stack(g1.scores, 1); top = sc.topk(2, -1).values; margin = (top[..., 0] - top[..., 1])
    # a free-running (eos allowed) generation too
    with torch.no_grad():
        eager.model.rope_deltas = None; free = eager.generate(**ginp, max_new_tokens=GEN, do_sample=False)[:, n0:]
        # no-cache check of the whole generated sequence: cached logits == full forward logits
        seq = g1.sequences; am = torch.cat([ginp["attention_mask"], torch.ones_like(new)], 1); mm = (seq == IMTOK).int(); mm[:, n0:] = 0
        kw = {k: v for k, v in ginp.items() if k in ("pixel_values", "image_grid_thw")}
        bad = bool((new == IMTOK).any())
        if not bad:
            eager.model.rope_deltas = None; full = eager(input_ids=seq, attention_mask=am, mm_token_type_ids=mm, use_cache=False, **kw).logits[:, n0 - 1:-1]
            cache_diff = mx(full, torch.stack(g1.logits, 1))
        else: cache_diff = None
    T["gen.input_ids"], T["gen.attention_mask"], T["gen.new_tokens"] = ginp["input_ids"], ginp["attention_mask"], new.contiguous()
    T["gen.first_logits"] = g1.logits[0].clone(); T["gen.free_tokens"] = free.contiguous()
    for n in ("model.language_model.layers.0.self_attn.k_proj.bias", "model.language_model.norm.weight", "model.visual.merger.ln_q.weight", "model.visual.blocks.0.norm1.weight"):
        if n in grads: T["grad." + n] = grads[n].clone()
    save_file({k: v.contiguous() for k, v in T.items()}, f"{OUT}/{name}.safetensors")
    meta["cases"][name] = {"padding_side": side, "messages": c["batch"], "images": [e[2] for e in enc], "rendered": [e[4] for e in enc],
        "gen_rendered": [e[4] for e in genc], "label_tokens": int((lab[:, 1:] != -100).sum()), "loss": out.loss.item(), "loss_f64": l64.item(),
        "grad_norms": {n: g.norm().item() for n, g in sorted(grads.items())}, "generated": new.tolist(), "generated_text": tok.batch_decode(new, skip_special_tokens=False),
        "gen_free": free.tolist(), "gen_min_top2_margin": margin.min().item(), "gen_note": "generated: min_new_tokens=24 (eos suppressed); gen_free: eos allowed, then padded",
        "cached_vs_full_maxdiff": cache_diff, "eager_vs_sdpa": dif}
    print(name, "seq", tuple(inp["input_ids"].shape), "grid", inp.get("image_grid_thw", torch.zeros(0)).tolist(), "loss %.6f" % out.loss.item(), "margin %.4f" % margin.min().item(), "cachediff", cache_diff, {k: f"{v:.1e}" for k, v in dif.items()})
meta["worst"] = worst
TOKCASES = ["Hello world", "  two  spaces\n\n\ttab", "It's we'll THEY'RE I'd", "1234567 3.14", "\u4f60\u597d\uff0c\u4e16\u754c \U0001F600", "cafe\u0301 caf\u00e9", "<|im_start|>user\nhi<|im_end|>\n", "<tool_call>{\"a\":1}</tool_call>", "\\boxed{\\frac{3}{4}}", "", " ", "\r\n\r\n x", "a<|image_pad|>b", "\u00a0nbsp\u3000wide", "x\u200by", "ABC\u0130\u017f'S 'T"]
meta["tokenizer_cases"] = [{"text": t, "ids": rawtok.encode(t, add_special_tokens=False).ids, "decoded": rawtok.decode(rawtok.encode(t, add_special_tokens=False).ids, skip_special_tokens=False)} for t in TOKCASES]
meta["hf_tokenizer_agrees"] = all(tok(t)["input_ids"] == c["ids"] for t, c in zip(TOKCASES, meta["tokenizer_cases"]))
json.dump(meta, open(f"{OUT}/expected.json", "w"), indent=1, ensure_ascii=True)
print("worst", worst, "tok", meta["hf_tokenizer_agrees"])
