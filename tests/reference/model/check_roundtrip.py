#!/usr/bin/env python3
"""Does transformers read what Ruminate writes, and Ruminate what transformers writes, and do both compute the same?

usage: check_roundtrip.py RUMINATE [MODEL...]    MODEL: model folders; without any, those beside this file

Per model: trains it for two steps (`ruminate run`), exports the result (`ruminate export`), loads the folder with transformers and fails
on any warning about tensors; then compares, for chats with and without images, the ids and the logits (1e-4), and greedy answers.
Training must have changed the weights, so that it is the trained model that is compared. Then the same, without the answers, for
random weights of each type that `ruminate model init` writes in several files. A folder with a config alone has only these.

And back: what transformers saves of each of these models, with its own names of tensors and form of `config.json`, gives the same
logits in Ruminate, to the bit. Needs torch, torchvision, transformers and Pillow.
"""
import io, json, logging, os, shutil, subprocess, sys, tempfile, warnings
import torch, transformers
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2ForCausalLM, Qwen2VLImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
PNG = os.path.abspath(os.path.join(HERE, "..", "images", "png"))
TYPES = ["f32", "bf16", "f16"]
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


def draw(program, model, kind, folder):
    """A folder of random weights of this type for the model's config, in several files."""
    run(program, "model", "init", model, "-o", kind, "--dtype", kind, "--max-shard-size", "60KB", folder=folder)
    return f"{folder}/{kind}"


def weights(folder):
    """Every tensor of the folder."""
    return {name: tensor for file in sorted(os.listdir(folder)) if file.endswith(".safetensors") for name, tensor in load_file(f"{folder}/{file}").items()}


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


def own_logits(program, folder, vision, work):
    """The ids and logits of every chat, as Ruminate computes them."""
    found = []
    for chat in chats(vision):
        json.dump(chat, open(f"{work}/chat.json", "w"))
        run(program, "model", "logits", folder, "chat.json", "-o", "logits.safetensors", folder=work)
        found.append(load_file(f"{work}/logits.safetensors"))
    return found


def compare(folder, model, vision, all_ours):
    """The largest difference of logits; ids must be equal."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst, tokens = 0.0, 0
    for index, (chat, ours) in enumerate(zip(chats(vision), all_ours)):
        given = inputs(folder, tokenizer, chat, vision)
        assert ours["input_ids"].tolist() == given["input_ids"][0].tolist(), f"{folder}: ids of chat {index}"
        if vision:
            model.model.rope_deltas = None
        with torch.no_grad():
            theirs = model(**given, use_cache=False).logits[0]
        worst = max(worst, (ours["logits"] - theirs).abs().max().item())
        bound = 1e-4 * max(1.0, theirs.abs().max().item() / 16)  # larger logits round more
        assert worst < bound, f"{folder}: logits of chat {index} differ by {worst}"
        tokens += len(theirs)
    return worst, tokens


def check_back(program, folder, model, vision, all_ours, work):
    """What transformers saves of the model must give the very same logits."""
    again = f"{work}/again"
    kinds = {tensor.dtype for tensor in weights(folder).values()}
    assert len(kinds) == 1, f"{folder}: {kinds}"
    model.to(kinds.pop()).save_pretrained(again)
    # A model is saved without its tokenizer.
    for file in os.listdir(folder):
        if ".safetensors" not in file and not os.path.exists(f"{again}/{file}"):
            shutil.copy(f"{folder}/{file}", again)
    for index, (ours, back) in enumerate(zip(all_ours, own_logits(program, again, vision, work))):
        assert torch.equal(ours["logits"], back["logits"]), f"{folder}: saved by transformers, other logits of chat {index}"
    shutil.rmtree(again)


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
        return {name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor for name, tensor in weights(path).items()}
    before, after = tensors(source), tensors(folder)
    assert before.keys() == after.keys(), sorted(before.keys() ^ after.keys())
    assert all(before[n].dtype == after[n].dtype for n in before)
    return sum(not torch.equal(before[n], after[n]) for n in before), len(before)


def check(program, name, folder, vision, work, moved="", answers=()):
    """Both ways for one folder, and its row of the table."""
    model = load(folder, vision)
    ours = own_logits(program, folder, vision, work)
    worst, tokens = compare(folder, model, vision, ours)
    greedy = check_answers(folder, model, vision, answers) or ""
    check_back(program, folder, model, vision, ours, work)
    files = [f for f in os.listdir(folder) if f.endswith(".safetensors")]
    kind = str(next(iter(weights(folder).values())).dtype).removeprefix("torch.")
    tied = ", tied" if model.config.tie_word_embeddings else ""
    print(f"| {name} | {kind}{tied} | {len(files)} | {moved} | {worst:.1e} | {tokens} | {greedy} |", flush=True)


if __name__ == "__main__":
    program = os.path.abspath(sys.argv[1])
    sources = [os.path.abspath(path) for path in sys.argv[2:]]
    sources = sources or sorted(f"{HERE}/{name}" for name in os.listdir(HERE) if os.path.exists(f"{HERE}/{name}/config.json"))
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| model | weights | files | tensors trained | logits differ by | tokens | equal answers |\n|---|---|---|---|---|---|---|")
    for source in sources:
        name = os.path.basename(source)
        vision = json.load(open(f"{source}/config.json"))["model_type"] == "qwen2_5_vl"
        with tempfile.TemporaryDirectory() as work:
            if any(file.endswith(".safetensors") for file in os.listdir(source)):
                folder, answers = export(program, source, work)
                moved, all_tensors = changed(source, folder)
                assert moved > all_tensors / 4, f"{name}: training changed {moved} tensors of {all_tensors}"
                check(program, f"{name}, trained", folder, vision, work, f"{moved} of {all_tensors}", answers)
            for kind in TYPES:
                check(program, f"{name}, drawn", draw(program, source, kind, work), vision, work)
