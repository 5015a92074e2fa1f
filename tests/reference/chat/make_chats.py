#!/usr/bin/env python3
"""Random chats, and the text, ids and labels that transformers makes of them, by templates of several kinds.

usage: make_chats.py OUT.json [COUNT [SEED]]

A folder of the result is the model `tiny` with some files replaced. Labels come from a template with `{% generation %}` around what
TRL's training templates mark. Image tokens written out in texts are left out: there Ruminate differs on purpose.
"""
import json, os, random, shutil, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model"))
from transformers import AutoTokenizer, Qwen2VLImageProcessor
from make_models import templates
from make_variants import encode

TINY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model", "tiny")
# Begins with a special token, drops earlier thoughts, opens a thought in the generation prompt.
THINKING = """{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- message['content'].strip() }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|box_start|>' }}@GEN@
        {{- message['content'].split('</think>')[-1] + eos_token }}@END@
    {%- else %}
        {{- '<|box_end|>' + message['content'] | trim }}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}<|box_start|><think>
{% endif %}"""
# Says itself what is learned; writes out images; refuses a chat that the assistant opens.
MARKING = """{%- if messages[0].role == 'assistant' %}{{ raise_exception('the assistant cannot begin') }}{% endif %}
{% for message in messages %}
<|im_start|>{{ message.role | upper }}:
    {%- if message.role == 'assistant' %}
@GEN@
  {{ message.content if message.content is string else message['content'] | map(attribute='text') | join('') }}<|im_end|>
@END@
    {% elif message.content is string %}
{{ message.content }}<|im_end|>
    {% else %}
        {%- for part in message.content if part.type in ['text', 'image'] %}
            {%- if part.type == 'image' %} <|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}
        {%- endfor %}<|im_end|>
    {% endif %}
{%- endfor %}
{{- '<|im_start|>ASSISTANT:' if add_generation_prompt }}"""
PIECES = ["How many?", " ", "\n", "\n\n", "  two  spaces", "Yes", "\\boxed{\\frac{3}{4}}", "\u4f60\u597d", "cafe\u0301", "\U0001F600\u200d\U0001F9D1", "<|im_end|>",
          "<|im_start|>user\n", "<tool_call>", "<|endoftext|>", "<think>", "</think>", "don't", "IT'S", "3.14", "1234567", "\t", "\r\n", "\u00a0", "{{ x }}",
          "{% if %}", "a<b & 'c' \"d\"", "\u0130\u017f", "\u0e01\u0e33", "<|vision_start|>", "assistant", "\ufdd0"]
IMAGES = ["shapes_97x61", "noise_45x70", "shapes_300x9", "gray_L_90x50"]


def folders():
    plain, training = templates()
    begin = {"bos_token": "<|object_ref_start|>", "eos_token": {"__type": "AddedToken", "content": "<|box_end|>", "special": True}, "pad_token": "<|endoftext|>",
             "tokenizer_class": "Qwen2Tokenizer"}
    unmarked = lambda text: text.replace("@GEN@", "").replace("@END@", "")
    marked = lambda text: text.replace("@GEN@", "{%- generation %}").replace("@END@", "{%- endgeneration %}")
    own = MARKING.replace("@GEN@", "{% generation %}").replace("@END@", "{% endgeneration -%}")
    return {"chatml": ({}, plain, training), "thinking": ({"tokenizer_config.json": begin, "chat_template.jinja": unmarked(THINKING)}, unmarked(THINKING), marked(THINKING)),
            "marking": ({"chat_template.jinja": own}, own, own)}


def text(r):
    return "".join(r.choice(PIECES) for _ in range(r.choice([0, 1, 1, 2, 3, 6])))


def chat(r, with_images, with_lists):
    messages = [{"role": "system", "content": text(r)}] if r.random() < 0.4 else []
    for _ in range(r.choice([1, 1, 2, 3])):
        content = text(r)
        if with_lists and r.random() < 0.6:
            parts = [{"type": "text", "text": text(r)} for _ in range(r.randrange(1, 4))]
            for _ in range(r.randrange(0, 3) if with_images else 0):
                parts.insert(r.randrange(len(parts) + 1), {"type": "image", "image": r.choice(IMAGES)})
            content = parts
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": text(r)})
    return messages


if __name__ == "__main__":
    out, count, seed = sys.argv[1], *map(int, (sys.argv[2:] + ["24", "1"][len(sys.argv) - 2:]))
    r, cases, all_folders = random.Random(seed), [], folders()
    settings = json.load(open(f"{TINY}/preprocessor_config.json"))
    processor = Qwen2VLImageProcessor(**{k: v for k, v in settings.items() if not k.endswith(("type", "class"))})
    for name, (files, template, training) in all_folders.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(TINY, folder, dirs_exist_ok=True)
            for file, content in files.items():
                open(f"{folder}/{file}", "w").write(content if isinstance(content, str) else json.dumps(content))
            tok = AutoTokenizer.from_pretrained(folder)
            for _ in range(count):
                messages = chat(r, name != "thinking", name != "thinking")
                generate = r.random() < 0.3
                if generate:
                    messages.pop()
                ids, labels, _, rendered = encode(tok, processor, messages, 2, generate, template, training)
                learned = [int(label >= 0) for label in labels]
                runs = [len(run) for run in "".join(map(str, learned)).replace("01", "0 1").replace("10", "1 0").split()]
                cases.append(dict(folder=name, messages=messages, add_generation_prompt=generate, rendered=rendered, ids=ids, learned=learned[:1] + runs))
    json.dump({"folders": {name: files for name, (files, _, _) in all_folders.items()}, "cases": cases}, open(out, "w"), separators=(",", ":"))
