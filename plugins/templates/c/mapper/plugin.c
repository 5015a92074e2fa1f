/* Cuts a text after so many bytes, at the end of a word, and says whether it did. */

#include "ruminate.h"

static void transform(const ruminate_row *row, ruminate_rows *rows) {
    const char *field = ruminate_option_text("field");
    ruminate_text text = ruminate_row_text(row, field);
    size_t max = (size_t)ruminate_option_int("max_bytes");
    bool cut = text.size > max;
    if (cut) {
        for (text.size = max; text.size > 0 && text.data[text.size] != ' ';) text.size--;
    }
    /* No row at all drops the record; several make several records of it. */
    ruminate_add_row(rows);
    ruminate_set_text(rows, field, text);
    ruminate_set_boolean(rows, "cut", cut);
}

static const char *configure(ruminate_setup *setup) {
    const char *field = ruminate_option_text("field");
    ruminate_reads(setup, field, "text");
    ruminate_writes(setup, field, "text");
    ruminate_writes(setup, "cut", "boolean");
    return NULL;
}

static const ruminate_option OPTIONS[] = {
    RUMINATE_TEXT("field", "reasoning", "the field that is read and written"),
    RUMINATE_INT("max_bytes", 1000, 1, 1 << 30, "the most bytes that are left of a text"),
    RUMINATE_END,
};

const ruminate_plugin ruminate = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "cuts texts after `max_bytes` bytes",
    .options = OPTIONS,
    .configure = configure,
    .transform = transform,
};
