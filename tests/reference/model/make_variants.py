#!/usr/bin/env python3
"""Tiny random models of many shapes in Hugging Face layout, and what transformers makes of them: Qwen2.5-VL and Qwen2, tied
and untied, other head counts, rotary sections, patch, merge and window sizes, types of weights and forms of config.

usage: make_variants.py OUT NAME...    NAME: one of VARIANTS, or rN for a random shape drawn from the seed N

Writes OUT/NAME (the model) and OUT/expected/NAME/{case.safetensors,expected.json}, in the form of make_expected.py.
"""
import json, os, random, re, sys
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Config,
                          Qwen2ForCausalLM, Qwen2VLImageProcessor)
from transformers.utils.chat_template_utils import render_jinja_template
from make_models import hub_name, make_tokenizer, reinit, templates, SPECIAL, NONSPECIAL

HERE = os.path.dirname(os.path.abspath(__file__))
PNG = os.path.join(HERE, "..", "images", "png")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
GENERATED = 12

VARIANTS = {
    # Qwen2 as transformers 5 saves it: tied, seven query heads to one of keys, f16, a vocabulary that no power of two divides.
    "text_tied_gqa7": dict(vision=None, form="saved", dtype="float16", tied=True, heads=7, kv=1, head_dim=8, hidden=56,
                           inner=40, layers=2, vocab=517, theta=1e6, eps=1e-6),
    # Qwen2 as published: untied, as many heads of keys as of queries, head width of its own, another base and epsilon.
    "text_untied_mha": dict(vision=None, form="published", dtype="bfloat16", tied=False, heads=3, kv=3, head_dim=16, hidden=32,
                            inner=48, layers=1, vocab=512, theta=10000.0, eps=1e-5),
    # Qwen2.5-VL as transformers 5 saves it, in shards: nested, tied, f16, patches of 8 merged by threes, ragged windows.
    "vision_nested": dict(form="saved", dtype="float16", tied=True, heads=4, kv=1, head_dim=8, hidden=32, inner=40, layers=2,
                          vocab=519, theta=500000.0, eps=1e-5, sections=[1, 1, 2], shard=40_000,
                          vision=dict(depth=3, heads=2, head_dim=12, inner=20, patch=8, merge=3, frames=1, window=72,
                                      full=[2], min_pixels=24 * 24 * 2, max_pixels=24 * 24 * 8)),
}


def random_variant(seed):
    """A shape drawn from a seed."""
    r = random.Random(seed)
    heads, kv = r.choice([(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (6, 3), (7, 1), (8, 2), (14, 2)])
    head_dim = r.choice([8, 16, 16, 32, 64, 128])
    v = dict(form=r.choice(["saved", "published"]), dtype=r.choice(list(DTYPES)), tied=r.random() < 0.5, heads=heads, kv=kv,
             head_dim=head_dim, hidden=heads * head_dim, inner=r.choice([24, 56, 100]), layers=r.choice([1, 2, 3]),
             vocab=512 + r.randrange(20), theta=r.choice([1e4, 12345.0, 5e5, 1e6]), eps=r.choice([1e-5, 1e-6]), vision=None)
    if r.random() < 0.25:
        if r.random() < 0.5:
            v["hidden"] = r.choice([24, 40, 64])
        return v
    half = head_dim // 2
    first = r.randrange(0, half); second = r.randrange(0, half - first + 1)
    v["sections"] = [first, second, half - first - second]
    patch, merge = r.choice([(14, 2), (14, 2), (8, 2), (16, 2), (14, 1), (7, 3)])
    factor = patch * merge
    depth = r.choice([1, 2, 3, 4])
    if r.random() < 0.3:
        v["shard"] = 60_000
    low = r.choice([1, 4, 6])
    v["vision"] = dict(depth=depth, heads=r.choice([1, 2, 3]), head_dim=r.choice([4, 8, 12, 20, 80]), inner=r.choice([20, 33, 80]),
                       patch=patch, merge=merge, frames=r.choice([1, 2, 2, 3]), window=factor * r.choice([1, 2, 3, 4]),
                       full=sorted(r.sample(range(depth + 1), r.randrange(0, depth + 1))),
                       min_pixels=factor ** 2 * low, max_pixels=factor ** 2 * (low + r.choice([2, 8, 14])))
    return v


def make_config(v, tok):
    tid = tok.token_to_id
    text = dict(hidden_size=v["hidden"], intermediate_size=v["inner"], num_hidden_layers=v["layers"],
                num_attention_heads=v["heads"], num_key_value_heads=v["kv"], vocab_size=v["vocab"], rms_norm_eps=v["eps"],
                rope_theta=v["theta"], max_position_embeddings=2048, hidden_act="silu", initializer_range=0.02,
                max_window_layers=v["layers"], use_sliding_window=False, sliding_window=4096)
    common = dict(tie_word_embeddings=v["tied"], torch_dtype=v["dtype"], bos_token_id=tid("<|endoftext|>"),
                  eos_token_id=tid("<|im_end|>"), use_cache=True, attention_dropout=0.0)
    if v["vision"] is None:
        if v["hidden"] != v["heads"] * v["head_dim"]:
            text["head_dim"] = v["head_dim"]
        return dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", **text, **common)
    s = v["vision"]
    vision = dict(model_type="qwen2_5_vl", hidden_act="silu", in_chans=3, depth=s["depth"], hidden_size=s["heads"] * s["head_dim"],
                  num_heads=s["heads"], intermediate_size=s["inner"], patch_size=s["patch"], spatial_patch_size=s["patch"],
                  spatial_merge_size=s["merge"], temporal_patch_size=s["frames"], window_size=s["window"],
                  fullatt_block_indexes=s["full"], out_hidden_size=v["hidden"], tokens_per_second=2)
    return dict(architectures=["Qwen2_5_VLForConditionalGeneration"], model_type="qwen2_5_vl", **text, **common,
                vision_config=vision, rope_scaling={"type": "mrope", "mrope_section": v["sections"]},
                image_token_id=tid("<|image_pad|>"), video_token_id=tid("<|video_pad|>"),
                vision_start_token_id=tid("<|vision_start|>"), vision_end_token_id=tid("<|vision_end|>"))


def make_model(v, folder, seed):
    """Writes the model's folder; gives the image processor."""
    os.makedirs(folder, exist_ok=True)
    tok = make_tokenizer()
    tok.save(f"{folder}/tokenizer.json")
    config = make_config(v, tok)
    json.dump(config, open(f"{folder}/config.json", "w"), indent=2)
    plain, _ = templates()
    open(f"{folder}/chat_template.jinja", "w").write(plain)
    json.dump({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "tokenizer_class": "Qwen2Tokenizer", "bos_token": None,
               "additional_special_tokens": SPECIAL[1:]}, open(f"{folder}/tokenizer_config.json", "w"), indent=2)
    generation = dict(pad_token_id=tok.token_to_id("<|endoftext|>"), do_sample=False,
                      eos_token_id=[tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")])
    kinds = (Qwen2Config, Qwen2ForCausalLM) if v["vision"] is None else (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration)
    torch.manual_seed(seed)
    model = kinds[1](kinds[0].from_pretrained(folder)).float()
    reinit(model, seed)
    model.tie_weights()
    model = model.to(DTYPES[v["dtype"]])
    if v["form"] == "saved":
        model.save_pretrained(folder, max_shard_size=v.get("shard", 10 ** 9))
    else:
        tensors = {hub_name(name): value.contiguous() for name, value in model.state_dict().items()}
        if v["tied"]:
            tensors.pop("lm_head.weight")
        names = sorted(tensors)
        if "shard" in v:
            half = len(names) // 2
            files = {f"model-{i}-of-2.safetensors": part for i, part in ((1, names[:half]), (2, names[half:]))}
            index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
            json.dump(index, open(f"{folder}/model.safetensors.index.json", "w"))
        else:
            files = {"model.safetensors": names}
        for file, part in files.items():
            save_file({name: tensors[name] for name in part}, f"{folder}/{file}", metadata={"format": "pt"})
    json.dump(generation, open(f"{folder}/generation_config.json", "w"), indent=2)
    if v["vision"] is None:
        return None
    s = v["vision"]
    sizes = dict(patch_size=s["patch"], temporal_patch_size=s["frames"], merge_size=s["merge"])
    processor = Qwen2VLImageProcessor(size={"shortest_edge": s["min_pixels"], "longest_edge": s["max_pixels"]}, **sizes)
    if v["form"] == "saved":
        processor.save_pretrained(folder)
    else:
        settings = dict(min_pixels=s["min_pixels"], max_pixels=s["max_pixels"], image_processor_type="Qwen2VLImageProcessor", **sizes)
        json.dump(settings, open(f"{folder}/preprocessor_config.json", "w"), indent=2)
    return processor


def user(*parts):
    return {"role": "user", "content": [{"type": "image", "image": p[4:]} if p.startswith("img:") else {"type": "text", "text": p} for p in parts]}


def turn(role, text):
    return {"role": role, "content": text}


def cases(vision):
    if not vision:
        return {"batch": ("left", [[turn("system", ""), turn("user", "3 + 4?"), turn("assistant", "7")],
                                   [turn("system", "Bref."), turn("user", "\u4f60?"), turn("assistant", "3.1"), turn("user", ""), turn("assistant", "\nYes.\n\nNo.")]])}
    bref = turn("system", "Bref.")
    return {"one": ("right", [[user("img:shapes_97x61", "How many?"), turn("assistant", "Two: \\boxed{2}.")]]),
            "batch": ("right", [[bref, user("img:noise_61x205", "a", "img:grad_211x143"), turn("assistant", "So. \\boxed{0}"), user("img:shapes_300x9", "?"), turn("assistant", "It.")],
                                [bref, turn("user", "Only text."), turn("assistant", "Fine.")]])}


def encode(tok, processor, chat, merge, generate=False, template=None, training=None):
    """Ids, labels on the assistant's tokens as TRL sets them (by a template with `{% generation %}`), images' features, text."""
    names = [c["image"] for m in chat if isinstance(m["content"], list) for c in m["content"] if c["type"] == "image"]
    images = [processor(images=[Image.open(f"{PNG}/{name}.png")], return_tensors="pt") for name in names]
    text = tok.apply_chat_template(chat, chat_template=template, tokenize=False, add_generation_prompt=generate)
    (again,), (spans,) = render_jinja_template(
        [chat], chat_template=training or templates()[1], return_assistant_tokens_mask=True, add_generation_prompt=generate,
        **tok.special_tokens_map)
    assert again == text, (again, text)
    counts = iter([int(i["image_grid_thw"][0].prod() // merge ** 2) for i in images])
    token = "<|image_pad|>"
    full, shifts = "", []  # the text as the model sees it; per character of the template's, where it is there
    for piece in re.split(f"({re.escape(token)})", text):
        shifts += range(len(full), len(full) + len(piece))
        full += piece * next(counts) if piece == token else piece
    encoded = tok(full, add_special_tokens=False)
    ids = encoded["input_ids"]
    labels = [-100] * len(ids)
    for start, end in spans:
        for place in range(encoded.char_to_token(shifts[start]), encoded.char_to_token(shifts[end - 1]) + 1):
            labels[place] = ids[place]
    return ids, labels, images, text


def pad(rows, value, side):
    width = max(map(len, rows))
    return torch.tensor([[value] * (width - len(r)) + r if side == "left" else r + [value] * (width - len(r)) for r in rows])


def inputs(tok, rows, side):
    fill, image = tok.convert_tokens_to_ids("<|endoftext|>"), tok.convert_tokens_to_ids("<|image_pad|>")
    ids = pad([r[0] for r in rows], fill, side)
    given = dict(input_ids=ids, attention_mask=pad([[1] * len(r[0]) for r in rows], 0, side))
    images = [i for r in rows for i in r[2]]
    if images:
        given |= dict(mm_token_type_ids=(ids == image).int(), pixel_values=torch.cat([i["pixel_values"] for i in images]),
                      image_grid_thw=torch.cat([i["image_grid_thw"] for i in images]))
    return given


def expect(v, folder, out, processor):
    os.makedirs(out, exist_ok=True)
    tok = AutoTokenizer.from_pretrained(folder)
    kind = Qwen2ForCausalLM if v["vision"] is None else Qwen2_5_VLForConditionalGeneration
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    merge = v["vision"]["merge"] if v["vision"] else 1
    values = {"image_backend": "torchvision", "cases": {}}
    for name, (side, batch) in cases(v["vision"] is not None).items():
        rows = [encode(tok, processor, chat, merge) for chat in batch]
        given = inputs(tok, rows, side)
        labels = pad([r[1] for r in rows], -100, side)
        model.zero_grad()
        if v["vision"]:
            model.model.rope_deltas = None
        result = model(**given, labels=labels, use_cache=False)
        result.loss.backward()
        tensors = dict(given, labels=labels, logits=result.logits.detach())
        if "pixel_values" in given:
            keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
            tensors["position_ids"], tensors["rope_deltas"] = model.model.get_rope_index(**{k: given[k] for k in keys})
            tensors["vision_features"] = model.model.visual(given["pixel_values"], grid_thw=given["image_grid_thw"]).pooler_output.detach()
        norms = {n: p.grad.double().norm().item() for n, p in sorted(model.named_parameters()) if p.grad is not None}
        # Prompts end before the last answer.
        starts = [encode(tok, processor, chat[:-1], merge, True) for chat in batch]
        prompt = inputs(tok, starts, "left")
        if v["vision"]:
            model.model.rope_deltas = None
        with torch.no_grad():
            sequences = model.generate(**prompt, max_new_tokens=GENERATED, do_sample=False, return_dict_in_generate=True, output_scores=True)
        new = sequences.sequences[:, prompt["input_ids"].shape[1]:]
        best = torch.stack(sequences.scores, 1).topk(2, -1).values
        tensors |= {"gen.input_ids": prompt["input_ids"], "gen.attention_mask": prompt["attention_mask"], "gen.free_tokens": new}
        tensors.pop("mm_token_type_ids", None)
        save_file({k: t.contiguous() for k, t in tensors.items()}, f"{out}/{name}.safetensors")
        values["cases"][name] = dict(padding_side=side, messages=batch, rendered=[r[3] for r in rows], loss=result.loss.item(),
                                     grad_norms=norms, smallest_margin=(best[..., 0] - best[..., 1]).min().item())
    json.dump(values, open(f"{out}/expected.json", "w"), indent=1)


if __name__ == "__main__":
    out, names = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    for name in names:
        seed = int(name[1:]) if name not in VARIANTS else 7
        v = VARIANTS.get(name) or random_variant(seed)
        processor = make_model(v, f"{out}/{name}", seed)
        expect(v, f"{out}/{name}", f"{out}/expected/{name}", processor)
        print(name, json.dumps(v))
