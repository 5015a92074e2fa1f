/* Scores a completion by its length: 1 up to `target` tokens, then less, down to 0 at twice as many. */

#include "ruminate.h"

static double score(const ruminate_row *row, const char **note) {
    double target = (double)ruminate_option_int("target");
    double over = (double)ruminate_row_int(row, "tokens") - target;
    if (over <= 0) return 1;
    *note = ruminate_format("%g tokens over the target", over);
    return over < target ? 1 - over / target : 0;
}

static const char *configure(ruminate_setup *setup) {
    ruminate_reads(setup, "tokens", "int");
    return NULL;
}

static const ruminate_option OPTIONS[] = {
    RUMINATE_INT("target", 200, 1, INT64_MAX, "up to so many tokens the score is 1"),
    RUMINATE_END,
};

const ruminate_plugin ruminate = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "scores short completions higher",
    .options = OPTIONS,
    .configure = configure,
    .score = score,
};
