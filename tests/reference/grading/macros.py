"""Makes engine/grade/src/mathruler/macros.txt: the macros that pylatexenc 2.11 (MIT) knows, one a line: name, arguments, how
it reads, text.

    python tests/reference/grading/macros.py > engine/grade/src/mathruler/macros.txt
"""

import logging

from pylatexenc import latex2text, latexwalker
from pylatexenc.latex2text import _defaultspecs

logging.disable(logging.CRITICAL)

STYLES = {
    "mathbf": "bold",
    "mathit": "italic",
    "mathsf": "sans",
    "mathbb": "doublestruck",
    "mathtt": "monospace",
    "mathcal": "script",
    "mathscr": "script",
    "mathfrak": "fraktur",
}
# Read by hand, or with the date of today, which is no constant.
LEFT_OUT = ("verb", "today", "maketitle")


def entry(name, spec):
    """How a macro reads, and its text."""
    accents = dict(_defaultspecs.unicode_accents_list)
    if spec is None or (not spec.simplify_repl and spec.discard):
        return "drop", ""
    if not spec.simplify_repl:
        return "arguments", ""
    if callable(spec.simplify_repl):
        if name in accents:
            return "accent", accents[name]
        if name in STYLES:
            return "style", STYLES[name]
        return ("text", "%") if name == "%" else ("call", name)
    return "pattern" if "%" in spec.simplify_repl else "text", spec.simplify_repl


def main():
    texts, arguments = latex2text.get_default_latex_context_db(), latexwalker.get_default_latex_context_db()
    names = {spec.macroname for known in (texts, arguments) for spec in known.iter_macro_specs()}
    print("# Made by tests/reference/grading/macros.py from pylatexenc 2.11 (MIT): name, arguments, how it reads, text.")
    for name in sorted(names - set(LEFT_OUT)):
        spec = arguments.get_macro_spec(name)
        takes = spec.args_parser.argspec if spec is not None else ""
        kind, text = entry(name, texts.get_macro_spec(name))
        if kind != "drop" or takes:
            print(f"{name} {takes or '-'} {kind} {text}".replace("\n", "\\n"))


if __name__ == "__main__":
    main()
