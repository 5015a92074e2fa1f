/* Ruminate's SDK for plugins in C: the author fills in one `ruminate_plugin` and writes one function per record, the
   SDK does the rest (options with defaults, their JSON Schema, readable errors). Nothing here needs to be freed: a plugin
   starts afresh for each batch.

   No clock, files, network or randomness: a result must depend on the row and the config alone. Calls of the C library
   for them do not link into a plugin that the engine takes. `assert` and `abort` report to the engine. */

#ifndef RUMINATE_H
#define RUMINATE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined RUMINATE_FILTER + defined RUMINATE_MAPPER + defined RUMINATE_REWARD != 1
#error "compile with one of -DRUMINATE_FILTER, -DRUMINATE_MAPPER and -DRUMINATE_REWARD"
#endif

/* UTF-8, valid, not ended by a zero byte. */
typedef struct {
    const char *data;
    size_t size;
} ruminate_text;

/* The text of a C string. */
ruminate_text ruminate_text_of(const char *string);

/* A row's fields: those that `configure` asked for. A null reads as the empty text, 0 or false; asking for a field that
   was not asked for in `configure`, or for another kind, fails the record with a message. */
typedef struct ruminate_row ruminate_row;
bool ruminate_is_null(const ruminate_row *row, const char *field);
ruminate_text ruminate_row_text(const ruminate_row *row, const char *field);
int64_t ruminate_row_int(const ruminate_row *row, const char *field);
double ruminate_row_float(const ruminate_row *row, const char *field);
bool ruminate_row_boolean(const ruminate_row *row, const char *field);
/* A field of the kind json or list<...>, as JSON. */
ruminate_text ruminate_row_json(const ruminate_row *row, const char *field);
/* A field of the kind image: the file's bytes. */
ruminate_text ruminate_row_image(const ruminate_row *row, const char *field);

/* An option of the config: make it with one of the macros. */
typedef struct {
    const char *name, *help;
    enum { RUMINATE_KIND_TEXT = 1, RUMINATE_KIND_INT, RUMINATE_KIND_FLOAT, RUMINATE_KIND_BOOLEAN } kind;
    const char *text, *choices;
    int64_t whole, whole_min, whole_max;
    double number, number_min, number_max;
    bool truth;
} ruminate_option;

/* A text that is not empty; with NULL for its default it is required. */
#define RUMINATE_TEXT(name_, default_, help_) \
    {.name = name_, .help = help_, .kind = RUMINATE_KIND_TEXT, .text = default_}
/* One of the texts in `choices`, such as "latin|greek". */
#define RUMINATE_CHOICE(name_, default_, choices_, help_) \
    {.name = name_, .help = help_, .kind = RUMINATE_KIND_TEXT, .text = default_, .choices = choices_}
/* A whole number from `min` to `max`; INT64_MIN and INT64_MAX are no limit. */
#define RUMINATE_INT(name_, default_, min_, max_, help_) \
    {.name = name_, .help = help_, .kind = RUMINATE_KIND_INT, .whole = default_, .whole_min = min_, .whole_max = max_}
/* A number from `min` to `max`; -INFINITY and INFINITY are no limit. */
#define RUMINATE_FLOAT(name_, default_, min_, max_, help_) \
    {.name = name_, .help = help_, .kind = RUMINATE_KIND_FLOAT, \
     .number = default_, .number_min = min_, .number_max = max_}
#define RUMINATE_BOOLEAN(name_, default_, help_) \
    {.name = name_, .help = help_, .kind = RUMINATE_KIND_BOOLEAN, .truth = default_}
#define RUMINATE_END {.name = NULL}

/* The value of an option: what the graph says, or the default. */
const char *ruminate_option_text(const char *name);
int64_t ruminate_option_int(const char *name);
double ruminate_option_float(const char *name);
bool ruminate_option_boolean(const char *name);

/* In `configure`: a field that is read or (mappers only) written, with its kind: "text", "int", "float", "boolean",
   "image", "json" or "list<KIND>". */
typedef struct ruminate_setup ruminate_setup;
void ruminate_reads(ruminate_setup *setup, const char *field, const char *kind);
void ruminate_writes(ruminate_setup *setup, const char *field, const char *kind);

/* The rows that a mapper makes of one row: begin each, then set all its fields. */
typedef struct ruminate_rows ruminate_rows;
void ruminate_add_row(ruminate_rows *rows);
void ruminate_set_null(ruminate_rows *rows, const char *field);
void ruminate_set_text(ruminate_rows *rows, const char *field, ruminate_text text);
void ruminate_set_int(ruminate_rows *rows, const char *field, int64_t value);
void ruminate_set_float(ruminate_rows *rows, const char *field, double value);
void ruminate_set_boolean(ruminate_rows *rows, const char *field, bool value);
void ruminate_set_json(ruminate_rows *rows, const char *field, ruminate_text json);

/* What a plugin is. The author defines `const ruminate_plugin ruminate = { ... };`. */
typedef struct {
    const char *name, *version, *summary;
    /* Ended by RUMINATE_END. */
    const ruminate_option *options;
    /* Declares the fields, once the options can be asked for. NULL, or what is wrong with the config. */
    const char *(*configure)(ruminate_setup *setup);
#if defined RUMINATE_FILTER
    /* NULL keeps the record; a text is the reason for its drop (the same text for the same cause). */
    const char *(*filter)(const ruminate_row *row);
#elif defined RUMINATE_MAPPER
    void (*transform)(const ruminate_row *row, ruminate_rows *rows);
#else
    /* A finite number; `*note` may be set to a remark. */
    double (*score)(const ruminate_row *row, const char **note);
#endif
} ruminate_plugin;

extern const ruminate_plugin ruminate;

/* A text made like printf makes it. */
char *ruminate_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Writes to the run's log: the engine keeps the first lines of each batch. */
void ruminate_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Gives the record up: it is dropped with this message, its neighbours are not touched. */
_Noreturn void ruminate_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
