"""Models that ruminate writes, in transformers, and models that transformers writes, in ruminate.

    python check_saved.py target/release/ruminate ../../../examples/models/configs/tiny-vl [more folders]

For each folder and type: `ruminate model init` writes random weights in several shards; transformers loads the folder
with no tensor missing or left over and gives the logits of `ruminate model logits`; what transformers then saves (its own
form of config.json and names of tensors) gives the same logits in ruminate, to the bit. Needs torch, torchvision,
transformers and Pillow.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.qwen2_vl import Qwen2VLImageProcessor

TOLERANCE = 1e-4


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def logits(program, folder, place):
    out = place / "logits.safetensors"
    run(program, "model", "logits", folder, place / "chat.json", "-o", out)
    return load_file(out)


def write_chat(place, sees):
    image = Image.new("RGB", (84, 56))
    image.putdata([((3 * i) % 256, (7 * i) % 256, (i * i) % 256) for i in range(84 * 56)])
    image.save(place / "image.png")
    content = [{"type": "text", "text": "What is the area?"}]
    if sees:
        content.insert(0, {"type": "image_url", "image_url": {"url": "image.png"}})
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": "12"}]
    (place / "chat.json").write_text(json.dumps(chat))
    return image


def reference(folder, ids, image):
    sees = AutoConfig.from_pretrained(folder).model_type == "qwen2_5_vl"
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model, info = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    left = {kind: names for kind, names in info.items() if names}
    assert not left, f"transformers found {left}"
    model.eval()
    inputs = {"input_ids": ids[None]}
    if sees:
        pixels = Qwen2VLImageProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")
        inputs |= {"pixel_values": pixels["pixel_values"], "image_grid_thw": pixels["image_grid_thw"]}
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).int()
    with torch.no_grad():
        return model, model(**inputs).logits[0].float()


def check(program, source, dtype):
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        folder = place / "model"
        run(program, "model", "init", source, "-o", folder, "--seed", 3, "--dtype", dtype, "--max-shard-size", "700KB")
        shards = len(list(folder.glob("*.safetensors")))
        image = write_chat(place, "vision_config" in json.loads((source / "config.json").read_text()))
        ours = logits(program, folder, place)
        model, theirs = reference(folder, ours["input_ids"], image)
        difference = (ours["logits"] - theirs).abs().max().item()
        assert difference < TOLERANCE, f"{source.name} {dtype}: logits differ by {difference}"
        # What is saved without its tokenizer is put beside it.
        again = place / "again"
        model.to(next(iter(load_file(next(folder.glob("*.safetensors"))).values())).dtype).save_pretrained(again)
        for file in folder.iterdir():
            if file.suffix != ".safetensors" and not (again / file.name).exists() and "index" not in file.name:
                (again / file.name).write_bytes(file.read_bytes())
        back = logits(program, again, place)
        assert torch.equal(back["logits"], ours["logits"]), f"{source.name} {dtype}: saved by transformers, other logits"
        print(f"{source.name} {dtype}: {shards} files, {len(ours['input_ids'])} tokens, largest difference {difference:.2g}")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    for source in map(pathlib.Path, sys.argv[2:]):
        for dtype in ["f32", "bf16", "f16"]:
            check(program, source, dtype)


main()
