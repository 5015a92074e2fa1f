"""Makes the rows that the benchmark reads: the same bytes for the same number of rows, wherever it runs."""

import sys

WORDS = ("so", "the", "angle", "is", "twice", "as", "large", "therefore", "area", "equals", "count", "of", "red", "bars")
LANGUAGES = ("en", "de", "en", "fr", "en", "zh", "en", "en", "es", "en")


def line(row: int) -> str:
    """One JSON line: an id, a text of 60 to 140 characters, a score in [0, 1), a language."""
    # A multiplicative hash: cheap, and without the pattern that a counter has.
    mixed = (row * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 29
    length, words, place = 60 + mixed % 81, [str(row)], mixed >> 8
    size = len(words[0])
    while size < length:
        word = WORDS[place % 14]
        place = place // 3 + row + size
        words.append(word)
        size += len(word) + 1
    text = " ".join(words)[:length].rstrip()
    score = (mixed >> 20) % 10_000 / 10_000
    return f'{{"id": {row}, "text": "{text}", "score": {score}, "lang": "{LANGUAGES[(mixed >> 40) % 10]}"}}\n'


def write(paths: list[str], rows: int) -> None:
    """Rows 0.. in as many files as paths are given, each a run of neighbours, so that the files in order are the one file."""
    for part, path in enumerate(paths):
        with open(path, "w", encoding="utf-8") as file:
            first, last = rows * part // len(paths), rows * (part + 1) // len(paths)
            for begin in range(first, last, 10_000):
                file.writelines(line(row) for row in range(begin, min(begin + 10_000, last)))


if __name__ == "__main__":
    write(sys.argv[2:], int(sys.argv[1]))
