"""Makes one record of each paragraph of a text."""

import re

from ruminate_plugin import mapper_plugin, option


@mapper_plugin(
    name="{{name}}",
    version="0.1.0",
    summary="makes one record of each paragraph",
    options={"field": option.text("reasoning", "the field that is read and written")},
    reads=lambda options: {options.field: "text"},
    writes=lambda options: {options.field: "text", "paragraph": "int"},
)
def transform(row, options):
    """A list of dicts, one for each record that is made; an empty list drops the record."""
    paragraphs = [text.strip() for text in re.split(r"\n\s*\n", row[options.field] or "")]
    return [{options.field: text, "paragraph": i} for i, text in enumerate(filter(None, paragraphs))]
