/* Drops texts of more than so many words: the same options as plugins/max-words, and the same work on white space of ASCII. */

#include "ruminate.h"

static const ruminate_option options[] = {
    RUMINATE_TEXT("field", "reasoning", "the field whose words are counted"),
    RUMINATE_INT("max", 500, 1, INT64_MAX, "the most words that pass"),
    RUMINATE_END,
};

static const char *field, *reason;
static int64_t max;

static const char *configure(ruminate_setup *setup) {
    field = ruminate_option_text("field");
    max = ruminate_option_int("max");
    reason = ruminate_format("more than %lld words", (long long)max);
    ruminate_reads(setup, field, "text");
    return NULL;
}

static bool is_space(char byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static const char *keep(const ruminate_row *row) {
    ruminate_text text = ruminate_row_text(row, field);
    int64_t words = 0;
    bool before = true;
    for (size_t place = 0; place < text.size; place++) {
        bool space = is_space(text.data[place]);
        words += before && !space;
        if (words > max) return reason;
        before = space;
    }
    return NULL;
}

const ruminate_plugin ruminate = {
    .name = "words",
    .version = "0.1.0",
    .summary = "drops records whose text has more than so many words",
    .options = options,
    .configure = configure,
    .filter = keep,
};
