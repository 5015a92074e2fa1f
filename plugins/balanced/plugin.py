"""Drops texts in which something is opened and not closed: brackets, LaTeX's `\\boxed{`, `\\left` and `$`, and tags. A trace
that breaks off in the middle of a formula, or was cut by the length limit, is told by that.

What people write without closing it passes: a list's `1)`, a half-open interval `[0, 1)`, the price in `it costs $5`.
"""

import re

from ruminate_plugin import ConfigError, filter_plugin, option

OPEN = {"\\)": "\\(", "\\]": "\\[", ")": "(", "]": "[", "}": "{"}


def prepare(options):
    if not (options.brackets or options.math or options.tags):
        raise ConfigError("there is nothing to check: `brackets` and `math` are false and `tags` is empty")
    for index, tag in enumerate(options.tags):
        if not re.fullmatch(r"[\w-]+", tag):
            raise ConfigError(f"`tags` must be names such as `think`, without the brackets; entry {index} is `{tag}`")
    tags = "|".join(map(re.escape, options.tags))
    tokens = [
        rf"<(?P<slash>/?)(?P<tag>{tags})>" if tags else r"(?P<slash>(?P<tag>(?!)))",
        # A delimiter of \left or \right belongs to it, whatever it is: \left[ may end with \right).
        r"(?P<side>\\left|\\right)(?![a-zA-Z])\s*(?:\\[a-zA-Z]+|\\.|\S)?",
        r"(?P<boxed>\\boxed\s*\{)",
        r"\\[()\[\]]",
        r"\\.",
        r"\$\$|\$(?P<price>(?=\d))?",
        r"[()\[\]{}]",
        r"(?P<paragraph>\n[ \t]*\n)",
    ]
    options.tokens = re.compile("|".join(tokens))
    return options


@filter_plugin(
    name="balanced",
    version="0.1.0",
    summary="drops texts in which a bracket, a formula or a tag is opened and not closed",
    options={
        "field": option.text("reasoning", "the field that is read"),
        "brackets": option.boolean(True, "whether ( [ { and \\boxed{ must be closed"),
        "math": option.boolean(True, "whether $, $$, \\(, \\[ and \\left must be closed"),
        "tags": option.texts(["think", "answer"], "the tags that must be closed, such as think for <think>"),
    },
    configure=prepare,
    reads=lambda options: {options.field: "text"},
)
def keep(row, options):
    fault = first_fault(row[options.field] or "", options)
    return True if fault is None else fault


def first_fault(text, options):
    """What is wrong first, as a reason, or None."""
    # What is open, outermost first; a price is a `$` that may stay so.
    stack = []
    for token in options.tokens.finditer(text):
        if token["tag"]:
            fault = close(stack, f"<{token['tag']}>", token[0]) if token["slash"] else stack.append(token[0])
        elif token["paragraph"]:
            # A formula between single dollars ends with its paragraph.
            fault = unclosed(stack[stack.index("$") :]) if "$" in stack else None
            stack = [opened for opened in stack if opened != "price"]
        elif token["side"] or token[0] in ("\\(", "\\)", "\\[", "\\]") or token[0].startswith("$"):
            fault = math(stack, token) if options.math else None
        elif token[0][0] == "\\" and not token["boxed"]:
            fault = None
        else:
            fault = bracket(stack, "\\boxed{" if token["boxed"] else token[0]) if options.brackets else None
        if fault is not None:
            return fault
    return unclosed(stack)


def math(stack, token):
    if token["side"]:
        return close(stack, "\\left", "\\right") if token["side"] == "\\right" else stack.append("\\left")
    sign = token[0]
    if sign in OPEN:
        return close(stack, OPEN[sign], sign)
    if sign in ("\\(", "\\["):
        return stack.append(sign)
    if sign == "$" and stack and stack[-1] == "price":
        stack.pop()
        return None
    if sign in stack:
        return close(stack, sign, sign)
    return stack.append("price" if token["price"] is not None else sign)


def bracket(stack, sign):
    if sign not in OPEN:
        return stack.append(sign)
    if sign == "}":
        inner = next((opened for opened in reversed(stack) if opened in ("{", "\\boxed{")), "{")
        return close(stack, inner, sign)
    # `[0, 1)` is an interval and `1)` a list's item: round and square brackets close each other, and may close nothing.
    last = next((i for i in reversed(range(len(stack))) if stack[i] != "price"), None)
    if last is not None and stack[last] in ("(", "["):
        del stack[last:]
    return None


def close(stack, opened, sign):
    """Closes the last `opened`; everything within it must be closed already."""
    if opened not in stack:
        return f"`{sign}` closes nothing"
    last = len(stack) - 1 - stack[::-1].index(opened)
    inside = stack[last + 1 :]
    del stack[last:]
    return unclosed(inside)


def unclosed(opened):
    """The reason for the first of those in `opened` that must be closed, or None."""
    first = next((sign for sign in opened if sign != "price"), None)
    return None if first is None else f"`{first}` is not closed"
