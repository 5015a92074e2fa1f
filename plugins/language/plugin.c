/* Drops texts in which too large a share of the letters is of another script than the one wanted: a model that slips from
   English into Chinese within its reasoning, for example.

   What looks like mathematics does not count, on either side: formulas between $ signs, \( \) or \[ \], names of LaTeX
   commands, runs of one or two Latin or Greek letters where another script is wanted (x, mg, the area pi r^2 written with
   the Greek letter), and the alphabets that Unicode has for mathematics. Scripts are told by blocks of Unicode: English
   and French are both `latin`. */

#include "ruminate.h"

#include <string.h>

enum script { NONE, LATIN, GREEK, CYRILLIC, HEBREW, ARABIC, DEVANAGARI, THAI, CJK, OTHER };

/* In the order of `enum script`. */
#define SCRIPTS "latin|greek|cyrillic|hebrew|arabic|devanagari|thai|cjk"

/* Blocks of letters beyond ASCII, from Unicode's Blocks.txt and Scripts.txt, in ascending order. */
static const struct {
    uint32_t first, last;
    enum script script;
} BLOCKS[] = {
    {0xaa, 0xaa, LATIN},        {0xba, 0xba, LATIN},        {0xc0, 0xd6, LATIN},       {0xd8, 0xf6, LATIN},
    {0xf8, 0x2af, LATIN},       {0x370, 0x373, GREEK},      {0x376, 0x377, GREEK},     {0x37b, 0x37d, GREEK},
    {0x37f, 0x37f, GREEK},      {0x386, 0x386, GREEK},      {0x388, 0x3ff, GREEK},     {0x400, 0x481, CYRILLIC},
    {0x48a, 0x52f, CYRILLIC},   {0x531, 0x556, OTHER},      {0x561, 0x587, OTHER},     {0x5d0, 0x5f2, HEBREW},
    {0x620, 0x64a, ARABIC},     {0x66e, 0x66f, ARABIC},     {0x671, 0x6d3, ARABIC},    {0x6d5, 0x6d5, ARABIC},
    {0x6fa, 0x6ff, ARABIC},     {0x710, 0x74a, OTHER},      {0x750, 0x77f, ARABIC},    {0x780, 0x8ff, OTHER},
    {0x904, 0x939, DEVANAGARI}, {0x958, 0x961, DEVANAGARI}, {0x971, 0x97f, DEVANAGARI}, {0x985, 0xddf, OTHER},
    {0xe01, 0xe30, THAI},       {0xe32, 0xe33, THAI},       {0xe40, 0xe46, THAI},      {0xe81, 0x10ff, OTHER},
    {0x1100, 0x11ff, CJK},      {0x1200, 0x1c7f, OTHER},    {0x1c80, 0x1c8f, CYRILLIC}, {0x1c90, 0x1cff, OTHER},
    {0x1e00, 0x1eff, LATIN},    {0x1f00, 0x1fff, GREEK},    {0x2c00, 0x2c5f, OTHER},   {0x2c60, 0x2c7f, LATIN},
    {0x2d00, 0x2ddf, OTHER},    {0x2e80, 0x2fdf, CJK},      {0x3005, 0x3007, CJK},     {0x3021, 0x3029, CJK},
    {0x3031, 0x3035, CJK},      {0x3041, 0x318f, CJK},      {0x31a0, 0x31ff, CJK},     {0x3400, 0x4dbf, CJK},
    {0x4e00, 0x9fff, CJK},      {0xa000, 0xa63f, OTHER},    {0xa640, 0xa66e, CYRILLIC}, {0xa680, 0xa69d, CYRILLIC},
    {0xa722, 0xa7ff, LATIN},    {0xa800, 0xa95f, OTHER},    {0xa960, 0xa97f, CJK},     {0xa980, 0xab2f, OTHER},
    {0xab30, 0xab6f, LATIN},    {0xab70, 0xabff, OTHER},    {0xac00, 0xd7ff, CJK},     {0xf900, 0xfaff, CJK},
    {0xfb00, 0xfb06, LATIN},    {0xfb13, 0xfb17, OTHER},    {0xfb1d, 0xfb4f, HEBREW},  {0xfb50, 0xfdfb, ARABIC},
    {0xfe70, 0xfefc, ARABIC},   {0xff21, 0xff3a, LATIN},    {0xff41, 0xff5a, LATIN},   {0xff66, 0xffdc, CJK},
    {0x10000, 0x1afff, OTHER},  {0x1b000, 0x1b16f, CJK},    {0x1e000, 0x1e8ff, OTHER}, {0x20000, 0x323af, CJK},
};

static const char *field;
static enum script wanted;
static double max_share;

static enum script script_of(uint32_t code) {
    if (code < 0x80) return (code | 0x20) >= 'a' && (code | 0x20) <= 'z' ? LATIN : NONE;
    size_t low = 0, high = sizeof BLOCKS / sizeof *BLOCKS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > BLOCKS[middle].last) low = middle + 1;
        else if (code < BLOCKS[middle].first) high = middle;
        else return BLOCKS[middle].script;
    }
    return NONE;
}

/* The code point at `*at`, which is moved behind it. The engine hands over valid UTF-8 only. */
static uint32_t next_code(const char **at, const char *end) {
    unsigned char lead = (unsigned char)*(*at)++;
    int more = lead < 0xc0 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    uint32_t code = more ? lead & (0x3f >> more) : lead;
    for (; more > 0 && *at < end; more--) code = code << 6 | ((unsigned char)*(*at)++ & 0x3f);
    return code;
}

/* Where `sign` comes next, or NULL; for a formula between single dollars only within the line. */
static const char *closing(const char *at, const char *end, const char *sign, bool within_line) {
    size_t size = strlen(sign);
    for (; at + size <= end; at++) {
        if (memcmp(at, sign, size) == 0) return at + size;
        if (within_line && *at == '\n') return NULL;
    }
    return NULL;
}

/* The end of the formula or the command that begins at `at`; `at` itself if none does. */
static const char *skip_mathematics(const char *at, const char *end) {
    const char *after = NULL;
    bool pair = at + 1 < end;
    if (pair && at[0] == '$' && at[1] == '$') {
        after = closing(at + 2, end, "$$", false);
    } else if (*at == '$') {
        after = closing(at + 1, end, "$", true);
    } else if (pair && at[0] == '\\' && at[1] == '(') {
        after = closing(at + 2, end, "\\)", false);
    } else if (pair && at[0] == '\\' && at[1] == '[') {
        after = closing(at + 2, end, "\\]", false);
    } else if (*at == '\\') {
        for (after = at + 1; after < end && script_of((unsigned char)*after) == LATIN && *after > 0;) after++;
    }
    return after ? after : at;
}

/* Counts a run of `length` letters of one script. */
static void count_run(enum script script, size_t length, size_t *letters, size_t *foreign) {
    bool symbol = script != wanted && length <= 2 && (script == LATIN || script == GREEK);
    if (script == NONE || symbol) return;
    *letters += length;
    if (script != wanted) *foreign += length;
}

static const char *filter(const ruminate_row *row) {
    ruminate_text text = ruminate_row_text(row, field);
    const char *at = text.data, *end = text.data + text.size;
    size_t letters = 0, foreign = 0, length = 0;
    enum script run = NONE;
    while (at < end) {
        const char *after = skip_mathematics(at, end);
        enum script script = NONE;
        if (after > at) at = after;
        else script = script_of(next_code(&at, end));
        if (script != run) {
            count_run(run, length, &letters, &foreign);
            run = script;
            length = 0;
        }
        length++;
    }
    count_run(run, length, &letters, &foreign);
    if ((double)foreign <= max_share * (double)letters) return NULL;
    return ruminate_format("more than %g of the letters are not `%s`", max_share, ruminate_option_text("script"));
}

static const char *configure(ruminate_setup *setup) {
    field = ruminate_option_text("field");
    max_share = ruminate_option_float("max_share");
    const char *name = ruminate_option_text("script");
    wanted = LATIN;
    for (const char *at = SCRIPTS; strncmp(at, name, strlen(name)) != 0; at = strchr(at, '|') + 1) wanted++;
    ruminate_reads(setup, field, "text");
    return NULL;
}

static const ruminate_option OPTIONS[] = {
    RUMINATE_TEXT("field", "reasoning", "the field that is read"),
    RUMINATE_CHOICE("script", "latin", SCRIPTS, "the script of the language that is wanted"),
    RUMINATE_FLOAT("max_share", 0.1, 0, 1, "the largest share of letters of other scripts"),
    RUMINATE_END,
};

const ruminate_plugin ruminate = {
    .name = "language",
    .version = "0.1.0",
    .summary = "drops texts in which too many letters are of another script than the one wanted",
    .options = OPTIONS,
    .configure = configure,
    .filter = filter,
};
