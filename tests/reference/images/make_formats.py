#!/usr/bin/env python3
"""Small images in the forms of PNG, JPEG, WebP, GIF and BMP that there are, and the RGB that Pillow and transformers make of them.

usage: make_formats.py OUT [LARGEST_SIDE [SEED [COPIES]]]

Writes the images, OUT/expected.safetensors (per file, `[height, width, 3]` u8) and, for sides above 40,
OUT/pixels.safetensors (per file, the `pixel_values` of transformers' torchvision backend for 3136 to 12544 pixels).
Samplings that Pillow does not write are libjpeg-turbo's `cjpeg`.
"""
import io, os, random, struct, subprocess, sys, zlib
import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
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


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cjpeg(path, image, *options):
    jpeg = subprocess.run(["cjpeg", *options], input=saved(image, "PPM"), capture_output=True, check=True).stdout
    open(path, "wb").write(jpeg)


def ycck(path, image):
    """Four components, of which the first three are a lightness and two colours: Adobe's transform 2 instead of 0."""
    jpeg = bytearray(saved(image, "JPEG", quality=90))
    jpeg[jpeg.index(b"Adobe") + 11] = 2
    open(path, "wb").write(jpeg)


def webp(path, image, room, place, has_alpha, **options):
    """An animation of one frame somewhere on a canvas that is larger by `room`."""
    def chunk(name, data):
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    def three(*numbers):
        return b"".join(struct.pack("<I", number)[:3] for number in numbers)
    still, picture = saved(image, "WEBP", **options)[12:], b""
    while still:
        name, length = struct.unpack("<4sI", still[:8])
        picture += still[:8 + length + length % 2] if name in (b"ALPH", b"VP8 ", b"VP8L") else b""
        still = still[8 + length + length % 2:]
    frame = three(place[0] // 2, place[1] // 2, image.width - 1, image.height - 1, 100) + b"\0" + picture
    header = bytes([0x10 * has_alpha | 2, 0, 0, 0]) + three(image.width + room[0] - 1, image.height + room[1] - 1)
    data = b"WEBP" + chunk(b"VP8X", header) + chunk(b"ANIM", b"\1\2\3\4\0\0") + chunk(b"ANMF", frame)
    open(path, "wb").write(chunk(b"RIFF", data))


def gif(path, pixels, screen, place, palette, key=None, local=None):
    """A frame of 16 colours somewhere on a screen; its codes are all five bits long."""
    def table(colours):
        return colours.astype(np.uint8).tobytes().ljust(48, b"\0")
    codes = []
    for number, pixel in enumerate(pixels.ravel()):
        codes += [16] * (number % 14 == 0) + [pixel]
    bits = np.array(codes + [17], np.uint8)[:, None] >> np.arange(5) & 1
    data = np.packbits(bits, bitorder="little").tobytes()
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x83, 5, 0) + table(palette)
    out += b"" if key is None else b"!\xf9\x04\x01\0\0" + bytes([key, 0])
    out += b"," + struct.pack("<HHHHB", *place, pixels.shape[1], pixels.shape[0], 0x80 | 3 if local is not None else 0)
    out += (table(local) if local is not None else b"") + b"\4"
    parts = [data[at:at + 255] for at in range(0, len(data), 255)]
    open(path, "wb").write(out + b"".join(bytes([len(part)]) + part for part in parts) + b"\0;")


def bmp(path, data, bits, size, palette=b"", compression=0, masks=b"", header=40):
    """What Pillow does not write: 4 and 16 bits, runs, masks, lines from top to bottom (a height below zero)."""
    head = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(head) + len(masks) + len(palette)
    open(path, "wb").write(b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + masks + palette + data)


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
    return out | more_forms(r, g, size, make, turned)


def more_forms(r, g, size, make, turned):
    rgb, rgba = lambda: make(3, "RGB"), lambda: make(4, "RGBA")
    few = lambda: rgb().quantize(16)
    colours = lambda count: g.integers(0, 256, (count, 3))
    quality = lambda: str(r.randrange(30, 101))
    def lines(bits, h, w):
        return g.integers(0, 256, h * ((w * bits + 31) // 32 * 4)).astype(np.uint8).tobytes()
    def plain(bits, flip=1, entries=0, **options):
        def write(path):
            h, w = size()
            palette = g.integers(0, 256, 4 * entries).astype(np.uint8).tobytes()
            bmp(path, lines(bits, h, w), bits, (w, flip * h), palette, **options)
        return write
    def frame(**options):
        def write(path):
            h, w = size()
            pixels = g.integers(0, 16, (h, w))
            options_here = {name: make() for name, make in options.items()}
            gif(path, pixels, (w + 7, h + 4), (3, 2), colours(16), **options_here)
        return write
    def animation(make, **options):
        def write(path):
            first = make()
            first.save(path, save_all=True, append_images=[make().resize(first.size)], **options)
        return write
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    masks = lambda *numbers: struct.pack(f"<{len(numbers)}I", *numbers)
    out = {
        "dot.jpg": lambda p: Image.new("RGB", (1, 1), (200, 30, 90)).save(p), "best.jpg": lambda p: rgb().save(p, quality=100, subsampling=0),
        "optimised.jpg": lambda p: rgb().save(p, optimize=True), "restarts.jpg": lambda p: rgb().save(p, restart_marker_blocks=2),
        "progressive_half.jpg": lambda p: rgb().save(p, progressive=True, subsampling=1), "xmp.jpg": lambda p: rgb().save(p, xmp=packet),
        "ycck.jpg": lambda p: ycck(p, make(4, "CMYK")), "cmyk_quarter.jpg": lambda p: make(4, "CMYK").save(p, subsampling=2),
        "arithmetic.jpg": lambda p: cjpeg(p, rgb(), "-arithmetic", "-quality", quality()),
        "xmp.png": lambda p: rgb().save(p, pnginfo=described(packet)),
        "lossy.webp": lambda p: rgb().save(p, quality=r.randrange(10, 100)), "lossless.webp": lambda p: rgb().save(p, lossless=True),
        "lossy_alpha.webp": lambda p: rgba().save(p, quality=r.randrange(10, 100)), "lossless_alpha.webp": lambda p: rgba().save(p, lossless=True, exact=True),
        "exif.webp": lambda p: rgb().save(p, exif=turned(r.choice([5, 6, 7, 8]))), "xmp.webp": lambda p: rgb().save(p, xmp=packet),
        "animation.webp": animation(rgba, lossless=True),
        "grey.gif": lambda p: make(1, "L").save(p), "palette.gif": lambda p: rgb().quantize(200).save(p, interlace=0),
        "interlaced.gif": lambda p: few().save(p, interlace=1), "key.gif": lambda p: few().save(p, transparency=3), "rgba.gif": lambda p: rgba().save(p),
        "animation.gif": animation(few),
        "frame.gif": frame(), "frame_key.gif": frame(key=lambda: 3), "frame_local.gif": frame(local=lambda: colours(11)),
        "bit.bmp": lambda p: make(1, "L").convert("1").save(p), "grey.bmp": lambda p: make(1, "L").save(p), "palette.bmp": lambda p: few().save(p),
        "rgb.bmp": lambda p: rgb().save(p), "rgba.bmp": lambda p: rgba().save(p), "rgb_down.bmp": plain(24, -1),
        "palette4.bmp": plain(4, entries=16), "palette8_down.bmp": plain(8, -1, entries=256), "rgb16.bmp": plain(16),
        "rgb16_masks.bmp": plain(16, compression=3, masks=masks(0xf800, 0x7e0, 0x1f)), "rgb32.bmp": plain(32),
        "alpha32.bmp": plain(32, compression=3, header=56, masks=masks(0xff0000, 0xff00, 0xff, 0xff000000)),
        "runs8.bmp": lambda p: bmp(p, bytes([5, 3, 0, 0, 2, 7, 3, 9, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 1]), 8, (5, 3), colours(341).astype(np.uint8).tobytes() + b"\0", 1),
    }
    for name, sampling in [("440", "1x2"), ("411", "4x1"), ("410", "4x2"), ("mixed", "2x2,1x2,2x1")]:
        out[f"{name}.jpg"] = lambda p, s=sampling: cjpeg(p, rgb(), "-sample", s, "-quality", quality())
        out[f"{name}_progressive.jpg"] = lambda p, s=sampling: cjpeg(p, rgb(), "-progressive", "-sample", s, "-quality", quality())
    for has_alpha in (False, True):
        out[f"frame{'_alpha' * has_alpha}.webp"] = lambda p, a=has_alpha: webp(p, rgba(), (9, 7), (4, 6), a, lossless=r.random() < 0.5)
    for kind in ("png", "bmp", "gif", "webp"):
        # One picture for all, of no draw.
        picture = Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28) // 16 * 16, "L").convert("RGB")
        out[f"same.{kind}"] = lambda p, kind=kind: picture.save(p, **{"lossless": True} if kind == "webp" else {})
    return out


def described(packet):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    return info


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
