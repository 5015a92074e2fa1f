#!/usr/bin/env python3
"""Does transformers read what Ruminate writes, and compute the same? For whoever has torch and transformers installed.

usage: check_roundtrip.py RUMINATE [MODEL...]    MODEL: folders beside this file; all of them without

Per model: trains it for two steps (`ruminate run`), exports the result (`ruminate export`), loads the folder with transformers and fails
on any warning about tensors; then compares, for chats with and without images, the ids, the logits (1e-4), and what both continue
the chats with (greedy). Then the same for random weights that `ruminate model init` writes in several files. The exported folder's weights must differ from the source's, so that it is the trained model that is compared.
"""
import io, json, logging, os, subprocess, sys, tempfile, warnings
import torch, transformers
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2ForCausalLM, Qwen2VLImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
PNG = os.path.abspath(os.path.join(HERE, "..", "images", "png"))
NEW = 16
GRAPH = """name = "roundtrip"
[models.source]
path = "{model}"
[nodes.data]
kind = "read"
path = "data.jsonl"
[nodes.tuned]
kind = "sft"
input = "data"
model = "source"
freeze = []
steps = 2
batch-size = 2
learning-rate = 0.003
prompt = "{{{{ question }}}}"
response = "answer"
image = ""
[nodes.samples]
kind = "reasoning-sample"
input = "data"
model = "tuned"
prompt = "{{{{ question }}}}"
image = ""
samples = 1
temperature = 0
top-p = 1.0
max-new-tokens = {new}
"""


def text(role, content):
    return {"role": role, "content": content}


def shown(*parts):
    form = lambda p: {"type": "image_url", "image_url": {"url": f"{PNG}/{p[4:]}.png"}} if p.startswith("img:") else {"type": "text", "text": p}
    return {"role": "user", "content": [form(p) for p in parts]}


def chats(vision):
    plain = [[text("user", "What is 3 + 4?")], [text("system", "Bref."), text("user", "a\n\n\u4f60"), text("assistant", " b "), text("user", "c")]]
    images = [[shown("img:shapes_97x61", "How many?")], [shown("Of ", "img:noise_61x205", "img:grad_211x143", "?"), text("assistant", "One."), shown("img:rgba_90x50")]]
    return plain + (images if vision else [])


def run(*command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stderr}"
    return done.stdout


def export(program, model, folder):
    """The folder of the model after two steps of training, and what it answers."""
    rows = [{"id": str(i), "question": f"{i} + 1?", "answer": f"\\boxed{{{i + 1}}}"} for i in range(4)]
    with open(f"{folder}/data.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    graph = GRAPH.format(model=model, new=NEW)
    open(f"{folder}/graph.toml", "w").write(graph)
    run(program, "run", "graph.toml", "--store", "store", folder=folder)
    run(program, "export", "graph.toml", "tuned", "out", "--store", "store", folder=folder)
    samples = [json.loads(line) for line in run(program, "show", "graph.toml", "samples", "--json", "--store", "store", folder=folder).splitlines()]
    return f"{folder}/out", [(sample["question"], sample["reasoning"]) for sample in samples]


def draw(program, model, folder):
    """A folder of random weights for the model's config, in several files."""
    run(program, "model", "init", model, "-o", "drawn", "--max-shard-size", "60KB", folder=folder)
    return f"{folder}/drawn"


def load(folder, vision):
    """The model as transformers loads it in f32; any word of it about tensors is a failure."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    kind = Qwen2_5_VLForConditionalGeneration if vision else Qwen2ForCausalLM
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, info = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    logger.removeHandler(handler)
    wrong = {name: list(value) for name, value in info.items() if value}
    assert not wrong, f"{folder}: {wrong}"
    words = [line for line in log.getvalue().splitlines() + [str(w.message) for w in caught] if "weight" in line or "tensor" in line]
    assert not words, f"{folder}: {words}"
    return model.eval()


def inputs(folder, tokenizer, chat, vision):
    names = [p["image_url"]["url"] for m in chat if isinstance(m["content"], list) for p in m["content"] if p["type"] == "image_url"]
    plain = [dict(m, content=[{"type": "image"} if p["type"] == "image_url" else p for p in m["content"]]) if isinstance(m["content"], list) else m for m in chat]
    rendered = tokenizer.apply_chat_template(plain, tokenize=False)
    if not names:
        return dict(tokenizer(rendered, return_tensors="pt", add_special_tokens=False))
    features = Qwen2VLImageProcessor.from_pretrained(folder)(images=[Image.open(name) for name in names], return_tensors="pt")
    merge = json.load(open(f"{folder}/config.json"))["vision_config"]["spatial_merge_size"] ** 2
    pieces = rendered.split("<|image_pad|>")
    full = pieces[0] + "".join("<|image_pad|>" * int(grid.prod() // merge) + piece for grid, piece in zip(features["image_grid_thw"], pieces[1:]))
    given = dict(tokenizer(full, return_tensors="pt", add_special_tokens=False), **features)
    return given | {"mm_token_type_ids": (given["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()}


def compare(program, folder, model, vision, work):
    """The largest difference of logits; ids must be equal, and the likeliest token wherever it is clearly so."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst, tokens = 0.0, 0
    for index, chat in enumerate(chats(vision)):
        json.dump(chat, open(f"{work}/chat.json", "w"))
        run(program, "model", "logits", folder, "chat.json", "-o", "logits.safetensors", folder=work)
        ours = load_file(f"{work}/logits.safetensors")
        given = inputs(folder, tokenizer, chat, vision)
        assert ours["input_ids"].tolist() == given["input_ids"][0].tolist(), f"{folder}: ids of chat {index}"
        if vision:
            model.model.rope_deltas = None
        with torch.no_grad():
            theirs = model(**given, use_cache=False).logits[0]
        worst = max(worst, (ours["logits"] - theirs).abs().max().item())
        assert worst < 1e-4, f"{folder}: logits of chat {index} differ by {worst}"
        tokens += len(theirs)
    return worst, tokens


def check_answers(folder, model, vision, answers):
    """Greedy answers must be those of transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for question, ours in answers:
        prompt = tokenizer.apply_chat_template([text("user", question)], add_generation_prompt=True, return_tensors="pt", return_dict=True)
        if vision:
            model.model.rope_deltas = None
        with torch.no_grad():
            new = model.generate(**prompt, max_new_tokens=NEW, do_sample=False)[0, prompt["input_ids"].shape[1]:]
        theirs = tokenizer.decode(new, skip_special_tokens=True)
        assert ours.strip() == theirs.strip(), f"{folder}: {question}: {ours!r}, expected {theirs!r}"
    return len(answers)


def changed(source, folder):
    """How many tensors training changed."""
    def tensors(path):
        files = [f for f in sorted(os.listdir(path)) if f.endswith(".safetensors")]
        return {name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): t for f in files for name, t in load_file(f"{path}/{f}").items()}
    before, after = tensors(source), tensors(folder)
    assert before.keys() == after.keys(), sorted(before.keys() ^ after.keys())
    assert all(before[n].dtype == after[n].dtype for n in before)
    return sum(not torch.equal(before[n], after[n]) for n in before), len(before)


def row(name, folder, model, moved, worst, tokens, greedy):
    files = [f for f in os.listdir(folder) if f.endswith(".safetensors")]
    kind = str(next(iter(load_file(f"{folder}/{files[0]}").values())).dtype).removeprefix("torch.")
    tied = ", tied" if model.config.tie_word_embeddings else ""
    print(f"| {name} | {kind}{tied} | {len(files)} | {moved} | {worst:.1e} | {tokens} | {greedy} |", flush=True)


if __name__ == "__main__":
    program = os.path.abspath(sys.argv[1])
    names = sys.argv[2:] or sorted(n for n in os.listdir(HERE) if os.path.exists(f"{HERE}/{n}/config.json"))
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| model | weights | files | tensors trained | logits differ by | tokens | equal answers |\n|---|---|---|---|---|---|---|")
    for name in names:
        source = os.path.abspath(f"{HERE}/{name}")
        vision = json.load(open(f"{source}/config.json"))["model_type"] == "qwen2_5_vl"
        with tempfile.TemporaryDirectory() as work:
            folder, answers = export(program, source, work)
            model = load(folder, vision)
            moved, all_tensors = changed(source, folder)
            assert moved > all_tensors / 4, f"{name}: training changed {moved} tensors of {all_tensors}"
            worst, tokens = compare(program, folder, model, vision, work)
            greedy = check_answers(folder, model, vision, answers)
            row(f"{name}, trained", folder, model, f"{moved} of {all_tensors}", worst, tokens, greedy)
            folder = draw(program, source, work)
            model = load(folder, vision)
            worst, tokens = compare(program, folder, model, vision, work)
            row(f"{name}, drawn", folder, model, "", worst, tokens, "")
