#!/usr/bin/env python3
"""Small images in the forms of PNG and JPEG that there are, and the RGB that Pillow and transformers make of them.

usage: make_formats.py OUT [LARGEST_SIDE [SEED [COPIES]]]

Writes OUT/*.png, OUT/*.jpg, OUT/expected.safetensors (per file, `[height, width, 3]` u8) and, for sides above 40,
OUT/pixels.safetensors (per file, the `pixel_values` of transformers' torchvision backend for 3136 to 12544 pixels).
"""
import os, random, struct, sys, zlib
import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from transformers import Qwen2VLImageProcessor
from transformers.image_transforms import convert_to_rgb

PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def content(r, g, h, w, channels):
    y, x = np.mgrid[0:h, 0:w]
    smooth = np.stack([(np.sin(x / (3 + 7 * k) + k) + np.cos(y / (5 + 3 * k))) * 63 + 127 for k in range(channels)], -1)
    blocks = g.integers(0, 256, (h // 9 + 1, w // 9 + 1, channels)).repeat(9, 0).repeat(9, 1)[:h, :w]
    noise = g.integers(0, 256, (h, w, channels))
    return np.clip(r.choice([smooth, blocks, noise, smooth + g.normal(0, 20, smooth.shape)]), 0, 255).astype(np.uint8)


def png(path, rows, kind, depth, key=None, size=None, interlaced=False, gamma=False):
    """Writes what Pillow cannot: 16 bits, few grey levels, interlacing. `rows` hold the bytes of lines, or the array."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    if interlaced:
        height, width = rows.shape[:2]
        parts = [rows[top::down, left::right] for top, left, down, right in PASSES]
        lines = [line.tobytes() for part in parts if part.size for line in part]
    else:
        height, width = size
        lines = rows
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))
    data += chunk(b"gAMA", struct.pack(">I", 45455)) if gamma else b""
    data += chunk(b"tRNS", b"".join(struct.pack(">H", k) for k in key)) if key else b""
    open(path, "wb").write(data + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))) + chunk(b"IEND", b""))


def few_levels(array, bits):
    """The packed lines of a grey image of 2 or 4 bits."""
    per = 8 // bits
    levels = np.concatenate([array >> (8 - bits), np.zeros((len(array), -array.shape[1] % per), np.uint8)], 1)
    levels = levels.reshape(len(array), -1, per)
    return [line.tobytes() for line in sum(levels[..., k] << (bits * (per - 1 - k)) for k in range(per)).astype(np.uint8)]


def forms(r, g, side):
    def size():
        return r.randrange(max(1, side // 3), side + 1), r.randrange(max(1, side // 3), side + 1)
    def make(channels, mode):
        array = content(r, g, *size(), channels)
        return Image.fromarray(array if channels > 1 else array[..., 0], mode)
    def deep(array, kind, **options):
        return lambda path: png(path, [line.astype(">u2").tobytes() for line in array], kind, 16, size=array.shape[:2], **options)
    def turned(orientation):
        exif = Image.Exif(); exif[0x0112] = orientation
        return exif
    grey, rgb = make(1, "L"), make(3, "RGB")
    h, w = size()
    narrow = g.integers(0, 3, (h, w, 3)) * 256 + g.integers(0, 2, (h, w, 3))
    dim = g.integers(0, 300, (h, w, 1))
    cmyk = lambda: make(4, "CMYK")
    out = {
        "rgb.png": lambda p: rgb.save(p), "rgba.png": lambda p: make(4, "RGBA").save(p), "grey.png": lambda p: grey.save(p),
        "grey_alpha.png": lambda p: make(2, "LA").save(p), "bit.png": lambda p: make(1, "L").convert("1").save(p),
        "palette.png": lambda p: make(3, "RGB").quantize(200).save(p),
        "palette_key.png": lambda p: make(3, "RGB").quantize(16).save(p, transparency=3),
        "palette_alpha.png": lambda p: make(3, "RGB").quantize(17).save(p, transparency=bytes([0, 90, 180, 255, 3])),
        "grey_key.png": lambda p: grey.save(p, transparency=int(np.array(grey)[0, 0])),
        "rgb_key.png": lambda p: rgb.save(p, transparency=tuple(int(v) for v in np.array(rgb)[0, 0])),
        "grey16.png": deep(g.integers(0, 65536, (h, w, 1)), 0), "grey16_gamma.png": deep(dim, 0, gamma=True), "rgb16.png": deep(g.integers(0, 65536, (h, w, 3)), 2),
        "grey16_key.png": deep(dim, 0, key=[int(dim[0, 0, 0])]), "rgb16_key.png": deep(narrow, 2, key=[int(v) for v in narrow[0, 0]]),
        "grey_alpha16.png": deep(g.integers(0, 65536, (h, w, 2)), 4), "rgba16.png": deep(g.integers(0, 65536, (h, w, 4)), 6),
        "interlaced_grey.png": lambda p: png(p, content(r, g, h, w, 1), 0, 8, interlaced=True),
        "interlaced_rgba.png": lambda p: png(p, content(r, g, h, w, 4), 6, 8, interlaced=True),
        "exif.png": lambda p: make(3, "RGB").save(p, exif=turned(r.choice([6, 8]))),
        "photo.jpg": lambda p: make(3, "RGB").save(p, quality=r.randrange(30, 97)), "grey.jpg": lambda p: make(1, "L").save(p),
        "progressive.jpg": lambda p: make(3, "RGB").save(p, progressive=True), "full_colour.jpg": lambda p: make(3, "RGB").save(p, subsampling=0, quality=90),
        "half_colour.jpg": lambda p: make(3, "RGB").save(p, subsampling=1, quality=90), "cmyk.jpg": lambda p: cmyk().save(p, quality=90),
    }
    for bits in (1, 2, 4):
        out[f"palette{bits}.png"] = lambda p, bits=bits: make(3, "RGB").quantize(2 ** bits).save(p, bits=bits)
    for bits in (2, 4):
        out[f"grey{bits}.png"] = lambda p, bits=bits: png(p, few_levels(content(r, g, h, w, 1)[..., 0], bits), 0, bits, size=(h, w))
    for orientation in range(1, 9):
        out[f"exif{orientation}.jpg"] = lambda p, o=orientation: make(3, "RGB").save(p, exif=turned(o))
    return out


if __name__ == "__main__":
    out, side, seed, copies = sys.argv[1], *map(int, (sys.argv[2:] + ["30", "1", "1"][len(sys.argv) - 2:]))
    os.makedirs(out, exist_ok=True)
    r, g, expected, pixels = random.Random(seed), np.random.default_rng(seed), {}, {}
    processor = Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12544})
    for copy in range(copies):
        for name, write in forms(r, g, side).items():
            name = name if copies == 1 else f"{copy}_{name}"
            write(f"{out}/{name}")
            image = ImageOps.exif_transpose(Image.open(f"{out}/{name}"))
            expected[name] = np.ascontiguousarray(convert_to_rgb(image, return_numpy=True))
            pixels[name] = processor(images=[image], return_tensors="np")["pixel_values"]
    save_file(expected, f"{out}/expected.safetensors")
    if side > 40:
        save_file(pixels, f"{out}/pixels.safetensors")
