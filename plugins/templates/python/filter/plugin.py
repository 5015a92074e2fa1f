"""Drops texts of more words than `max`."""

from ruminate_plugin import filter_plugin, option


@filter_plugin(
    name="{{name}}",
    version="0.1.0",
    summary="drops texts of more words than `max`",
    options={
        "field": option.text("reasoning", "the field that is read"),
        "max": option.int(200, "the most words that a text may have", min=1),
    },
    reads=lambda options: {options.field: "text"},
)
def keep(row, options):
    """True keeps the record; a text is the reason for its drop."""
    words = len((row[options.field] or "").split())
    return words <= options.max or f"more than {options.max} words"
