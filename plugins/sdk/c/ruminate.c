/* Ties a plugin to its world: turns the generated bindings' types into those of ruminate.h and back. The one file of
   the SDK that knows the bindings. */

#include "internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined RUMINATE_FILTER
#include "bindings/filter.h"
typedef filter_string_t wit_string;
typedef filter_list_row_t wit_batch;
__attribute__((weak)) void __component_type_object_force_link_filter(void) {}
#elif defined RUMINATE_MAPPER
#include "bindings/mapper.h"
typedef mapper_string_t wit_string;
typedef mapper_list_row_t wit_batch;
__attribute__((weak)) void __component_type_object_force_link_mapper(void) {}
#else
#include "bindings/reward.h"
typedef reward_string_t wit_string;
typedef reward_list_row_t wit_batch;
__attribute__((weak)) void __component_type_object_force_link_reward(void) {}
#endif
/* The bindings call the empty functions above to force the link of an object with the world's types. Whoever makes the
   component adds those types; weak, so that wit-bindgen's object may be linked as well. */

struct ruminate_row {
    ruminate_plugin_types_row_t row;
};

struct ruminate_setup {
    ruminate_plugin_types_setup_t setup;
};

/* Memory and texts */

void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) ruminate_fail("no memory for %zu bytes", size);
    return memory;
}

/* Room for one more item in a list that is doubled at every power of two. */
static void *grow(void *items, size_t count, size_t size) {
    if (count & (count - 1)) return items;
    void *grown = realloc(items, (count ? 2 * count : 1) * size);
    if (!grown) ruminate_fail("no memory for %zu items", count);
    return grown;
}

void append(text_buffer *buffer, const char *format, ...) {
    va_list given, again;
    va_start(given, format);
    va_copy(again, given);
    size_t more = (size_t)vsnprintf(NULL, 0, format, given);
    va_end(given);
    if (buffer->size + more >= buffer->capacity) {
        buffer->capacity = 2 * (buffer->size + more) + 32;
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (!buffer->data) ruminate_fail("no memory for %zu bytes", buffer->capacity);
    }
    vsnprintf(buffer->data + buffer->size, more + 1, format, again);
    va_end(again);
    buffer->size += more;
}

static char *format_list(const char *format, va_list given) {
    va_list again;
    va_copy(again, given);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = allocate((size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, format, given);
    return text;
}

char *ruminate_format(const char *format, ...) {
    va_list given;
    va_start(given, format);
    char *text = format_list(format, given);
    va_end(given);
    return text;
}

static wit_string copy_bytes(const char *data, size_t size) {
    wit_string copy = {allocate(size), size};
    memcpy(copy.ptr, data, size);
    return copy;
}

static wit_string copy_of(const char *string) { return copy_bytes(string, strlen(string)); }

ruminate_text ruminate_text_of(const char *string) { return (ruminate_text){string, strlen(string)}; }

/* Logging and failing */

static void write_log(ruminate_plugin_logging_level_t level, const char *message) {
    wit_string line = {(uint8_t *)message, strlen(message)};
    ruminate_plugin_logging_log(level, &line);
}

void ruminate_log(const char *format, ...) {
    va_list given;
    va_start(given, format);
    write_log(RUMINATE_PLUGIN_LOGGING_LEVEL_INFO, format_list(format, given));
    va_end(given);
}

_Noreturn void ruminate_fail(const char *format, ...) {
    /* Not on the heap, which may be why this is called. */
    static char message[1024];
    va_list given;
    va_start(given, format);
    vsnprintf(message, sizeof message, format, given);
    va_end(given);
    write_log(RUMINATE_PLUGIN_LOGGING_LEVEL_ERROR, message);
    __builtin_trap();
}

/* In place of the C library's: those write to a console that is not there. */
_Noreturn void abort(void) { ruminate_fail("abort() was called"); }

_Noreturn void __assert_fail(const char *expression, const char *file, int line, const char *function) {
    ruminate_fail("assertion failed: %s (%s:%d, %s)", expression, file, line, function);
}

/* Rows */

static const ruminate_plugin_types_value_t *find(const ruminate_row *row, const char *field) {
    size_t size = strlen(field);
    for (size_t i = 0; i < row->row.fields.len; i++) {
        const ruminate_plugin_types_field_t *found = &row->row.fields.ptr[i];
        if (found->name.len == size && memcmp(found->name.ptr, field, size) == 0) return &found->value;
    }
    ruminate_fail("field `%s` is not there: `configure` must ask for it with `ruminate_reads`", field);
}

/* The value of `field`, which must be of this kind; NULL for a null. */
static const ruminate_plugin_types_value_t *value_of(const ruminate_row *row, const char *field, int tag) {
    static const char *const kinds[] = {"null", "boolean", "int", "float", "text", "image", "json"};
    const ruminate_plugin_types_value_t *value = find(row, field);
    if (value->tag == RUMINATE_PLUGIN_TYPES_VALUE_NULL) return NULL;
    if (value->tag != tag) ruminate_fail("field `%s` is %s, and read as %s", field, kinds[value->tag], kinds[tag]);
    return value;
}

static ruminate_text text_value(const ruminate_row *row, const char *field, int tag) {
    const ruminate_plugin_types_value_t *value = value_of(row, field, tag);
    if (!value) return (ruminate_text){"", 0};
    return (ruminate_text){(const char *)value->val.text.ptr, value->val.text.len};
}

bool ruminate_is_null(const ruminate_row *row, const char *field) {
    return find(row, field)->tag == RUMINATE_PLUGIN_TYPES_VALUE_NULL;
}

ruminate_text ruminate_row_text(const ruminate_row *row, const char *field) {
    return text_value(row, field, RUMINATE_PLUGIN_TYPES_VALUE_TEXT);
}

ruminate_text ruminate_row_json(const ruminate_row *row, const char *field) {
    return text_value(row, field, RUMINATE_PLUGIN_TYPES_VALUE_JSON);
}

ruminate_text ruminate_row_image(const ruminate_row *row, const char *field) {
    return text_value(row, field, RUMINATE_PLUGIN_TYPES_VALUE_BYTES);
}

int64_t ruminate_row_int(const ruminate_row *row, const char *field) {
    const ruminate_plugin_types_value_t *value = value_of(row, field, RUMINATE_PLUGIN_TYPES_VALUE_INT);
    return value ? value->val.int_ : 0;
}

double ruminate_row_float(const ruminate_row *row, const char *field) {
    const ruminate_plugin_types_value_t *value = value_of(row, field, RUMINATE_PLUGIN_TYPES_VALUE_FLOAT);
    return value ? value->val.float_ : 0;
}

bool ruminate_row_boolean(const ruminate_row *row, const char *field) {
    const ruminate_plugin_types_value_t *value = value_of(row, field, RUMINATE_PLUGIN_TYPES_VALUE_BOOLEAN);
    return value && value->val.boolean;
}

/* The lifecycle */

void exports_ruminate_plugin_lifecycle_describe(exports_ruminate_plugin_lifecycle_info_t *info) {
    info->name = copy_of(ruminate.name);
    info->version = copy_of(ruminate.version);
    info->summary = copy_of(ruminate.summary);
    info->config_schema.is_some = true;
    info->config_schema.val = copy_of(config_schema(ruminate.options));
}

static void add_column(ruminate_plugin_types_list_column_t *columns, const char *field, const char *kind) {
    columns->ptr = grow(columns->ptr, columns->len, sizeof *columns->ptr);
    columns->ptr[columns->len++] = (ruminate_plugin_types_column_t){copy_of(field), copy_of(kind)};
}

void ruminate_reads(ruminate_setup *setup, const char *field, const char *kind) {
    add_column(&setup->setup.reads, field, kind);
}

void ruminate_writes(ruminate_setup *setup, const char *field, const char *kind) {
    add_column(&setup->setup.writes, field, kind);
}

bool exports_ruminate_plugin_lifecycle_configure(wit_string *json, exports_ruminate_plugin_lifecycle_setup_t *setup,
                                                 wit_string *error) {
    static ruminate_setup made;
    memset(&made, 0, sizeof made);
    const char *fault = read_config(ruminate.options, (const char *)json->ptr, json->len);
    if (!fault && ruminate.configure) fault = ruminate.configure(&made);
    if (fault) *error = copy_of(fault);
    else *setup = made.setup;
    return !fault;
}

/* The worlds. An error is never returned: what fails a record is a trap with a message. */

#if defined RUMINATE_FILTER

bool exports_filter_filter(wit_batch *batch, filter_list_verdict_t *verdicts, wit_string *error) {
    (void)error;
    verdicts->len = batch->len;
    verdicts->ptr = allocate(batch->len * sizeof *verdicts->ptr);
    for (size_t i = 0; i < batch->len; i++) {
        const char *reason = ruminate.filter((const ruminate_row *)&batch->ptr[i]);
        verdicts->ptr[i].tag = reason ? RUMINATE_PLUGIN_TYPES_VERDICT_DROP : RUMINATE_PLUGIN_TYPES_VERDICT_KEEP;
        if (reason) verdicts->ptr[i].val.drop = copy_of(reason);
    }
    return true;
}

#elif defined RUMINATE_MAPPER

struct ruminate_rows {
    mapper_list_row_t list;
};

bool exports_mapper_transform(wit_batch *batch, mapper_list_list_row_t *lists, wit_string *error) {
    (void)error;
    lists->len = batch->len;
    lists->ptr = allocate(batch->len * sizeof *lists->ptr);
    for (size_t i = 0; i < batch->len; i++) {
        ruminate_rows rows = {{NULL, 0}};
        ruminate.transform((const ruminate_row *)&batch->ptr[i], &rows);
        lists->ptr[i] = rows.list;
    }
    return true;
}

void ruminate_add_row(ruminate_rows *rows) {
    mapper_list_row_t *list = &rows->list;
    list->ptr = grow(list->ptr, list->len, sizeof *list->ptr);
    memset(&list->ptr[list->len++], 0, sizeof *list->ptr);
}

static ruminate_plugin_types_value_t *set(ruminate_rows *rows, const char *field, uint8_t tag) {
    if (rows->list.len == 0) ruminate_fail("field `%s` is set before `ruminate_add_row` began a row", field);
    ruminate_plugin_types_list_field_t *fields = &rows->list.ptr[rows->list.len - 1].fields;
    fields->ptr = grow(fields->ptr, fields->len, sizeof *fields->ptr);
    ruminate_plugin_types_field_t *added = &fields->ptr[fields->len++];
    added->name = copy_of(field);
    added->value.tag = tag;
    return &added->value;
}

void ruminate_set_null(ruminate_rows *rows, const char *field) { set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_NULL); }

void ruminate_set_text(ruminate_rows *rows, const char *field, ruminate_text text) {
    set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_TEXT)->val.text = copy_bytes(text.data, text.size);
}

void ruminate_set_json(ruminate_rows *rows, const char *field, ruminate_text json) {
    set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_JSON)->val.json = copy_bytes(json.data, json.size);
}

void ruminate_set_int(ruminate_rows *rows, const char *field, int64_t value) {
    set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_INT)->val.int_ = value;
}

void ruminate_set_float(ruminate_rows *rows, const char *field, double value) {
    set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_FLOAT)->val.float_ = value;
}

void ruminate_set_boolean(ruminate_rows *rows, const char *field, bool value) {
    set(rows, field, RUMINATE_PLUGIN_TYPES_VALUE_BOOLEAN)->val.boolean = value;
}

#else

bool exports_reward_score(wit_batch *batch, reward_list_score_t *scores, wit_string *error) {
    (void)error;
    scores->len = batch->len;
    scores->ptr = allocate(batch->len * sizeof *scores->ptr);
    for (size_t i = 0; i < batch->len; i++) {
        const char *note = NULL;
        double value = ruminate.score((const ruminate_row *)&batch->ptr[i], &note);
        if (!isfinite(value)) ruminate_fail("the score is %g: expected a finite number", value);
        scores->ptr[i].value = value;
        scores->ptr[i].note.is_some = note != NULL;
        if (note) scores->ptr[i].note.val = copy_of(note);
    }
    return true;
}

#endif
