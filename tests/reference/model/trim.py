#!/usr/bin/env python3
"""Drop what no test reads from the files that make_expected.py and a like script for images write, to keep them small.
usage: trim.py FILE.safetensors..."""
import json, struct, sys

DROPPED = ("lm_hidden.", "vision_hidden.", "mm_token_type_ids", ".rgb_u8", ".resized_u8", ".pixel_values$")
SIZES = {"F32": 4, "I64": 8, "I32": 4, "U8": 1}

def dropped(name):
    return any(part in name + "$" if part.endswith("$") else part in name for part in DROPPED)

for path in sys.argv[1:]:
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        data = file.read()
    kept, body = {}, b""
    for name, entry in header.items():
        if name == "__metadata__" or dropped(name):
            continue
        start, end = entry["data_offsets"]
        kept[name] = {**entry, "data_offsets": [len(body), len(body) + end - start]}
        body += data[start:end]
    text = json.dumps(kept, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
