"""Writes examples/models/configs/qwen2.5-vl-3b: the published shape of Qwen2.5-VL-3B with the tokenizer of tiny-vl.

The shape (config.json, patches and pixels of the preprocessor, the numbers of special tokens) is as published; the text
tokens are the few that the tiny models know, so the folder is small. For models with random weights at real size.

    python make_3b_config.py ../../../examples/models/configs
"""

import json
import pathlib
import shutil
import sys

SPECIAL = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|vision_pad|>": 151654,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 128000,
    "max_window_layers": 70,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}


def added(name):
    return {"content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}


def main():
    configs = pathlib.Path(sys.argv[1])
    tiny, out = configs / "tiny-vl", configs / "qwen2.5-vl-3b"
    out.mkdir(exist_ok=True)

    def write(name, value):
        (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    tokenizer = json.loads((tiny / "tokenizer.json").read_text())
    # Numbers far from the others are kept only for tokens that stand in the vocabulary itself.
    tokenizer["model"]["vocab"].update(SPECIAL)
    tokenizer["added_tokens"] = [{"id": number, **added(name)} for name, number in SPECIAL.items()]
    write("tokenizer.json", tokenizer)
    settings = json.loads((tiny / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {str(number): added(name) for name, number in SPECIAL.items()}
    settings["model_max_length"] = 131072
    write("tokenizer_config.json", settings)
    preprocessor = json.loads((tiny / "preprocessor_config.json").read_text())
    preprocessor.update(min_pixels=3136, max_pixels=12845056, patch_size=14)
    write("preprocessor_config.json", preprocessor)
    end = {"bos_token_id": 151643, "do_sample": False, "eos_token_id": [151645, 151643], "pad_token_id": 151643}
    write("generation_config.json", end)
    write("config.json", CONFIG)
    shutil.copyfile(tiny / "chat_template.jinja", out / "chat_template.jinja")


main()
