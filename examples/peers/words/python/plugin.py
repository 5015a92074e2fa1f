"""Drops texts of more than so many words: the same work and the same options as plugins/max-words."""

from ruminate_plugin import filter_plugin, option


@filter_plugin(
    name="words",
    version="0.1.0",
    summary="drops records whose text has more than so many words",
    options={
        "field": option.text("reasoning", "the field whose words are counted"),
        "max": option.int(500, "the most words that pass", min=1),
    },
    reads=lambda options: {options.field: "text"},
)
def keep(row, options):
    return len((row[options.field] or "").split()) <= options.max or f"more than {options.max} words"
