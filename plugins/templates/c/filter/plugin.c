/* Drops texts of more words than `max`. */

#include "ruminate.h"

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static int64_t count_words(ruminate_text text) {
    int64_t words = 0;
    for (size_t i = 0; i < text.size; i++) {
        words += !is_space(text.data[i]) && (i == 0 || is_space(text.data[i - 1]));
    }
    return words;
}

/* NULL keeps the record; a text is the reason for its drop. */
static const char *filter(const ruminate_row *row) {
    int64_t max = ruminate_option_int("max");
    int64_t words = count_words(ruminate_row_text(row, ruminate_option_text("field")));
    return words <= max ? NULL : ruminate_format("more than %lld words", (long long)max);
}

static const char *configure(ruminate_setup *setup) {
    ruminate_reads(setup, ruminate_option_text("field"), "text");
    return NULL;
}

static const ruminate_option OPTIONS[] = {
    RUMINATE_TEXT("field", "reasoning", "the field that is read"),
    RUMINATE_INT("max", 200, 1, INT64_MAX, "the most words that a text may have"),
    RUMINATE_END,
};

const ruminate_plugin ruminate = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "drops texts of more words than `max`",
    .options = OPTIONS,
    .configure = configure,
    .filter = filter,
};
