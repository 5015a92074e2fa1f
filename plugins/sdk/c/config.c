/* The config of a plugin: a strict reader of the one JSON object that the engine hands over, and the schema of what it
   may hold. Knows no world. */

#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A JSON value: its kind and its place in the source. */
typedef struct {
    enum { JSON_NULL, JSON_TRUE, JSON_FALSE, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_TABLE } kind;
    const char *start, *end;
} json_value;

typedef struct {
    const char *start, *at, *end;
    int depth;
} json_reader;

enum { DEPTH_MAX = 64 };

/* What the options hold, in their order; NULL before `read_config`. */
static ruminate_option *values;

static bool read_value(json_reader *reader, json_value *value);

static void skip_space(json_reader *reader) {
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at) reader->at++;
}

/* Takes `sign` if it comes next. */
static bool take(json_reader *reader, char sign) {
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != sign) return false;
    reader->at++;
    return true;
}

static bool read_word(json_reader *reader, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0) return false;
    reader->at += size;
    return true;
}

static size_t read_digits(json_reader *reader) {
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') reader->at++;
    return (size_t)(reader->at - start);
}

static bool read_number(json_reader *reader) {
    read_word(reader, "-");
    if (!read_word(reader, "0") && read_digits(reader) == 0) return false;
    if (read_word(reader, ".") && read_digits(reader) == 0) return false;
    if (!read_word(reader, "e") && !read_word(reader, "E")) return true;
    if (!read_word(reader, "-")) read_word(reader, "+");
    return read_digits(reader) > 0;
}

/* Reads four digits of a \u escape; -1 if they are not there. */
static long read_unit(const char *at, const char *end) {
    if (end - at < 4) return -1;
    char digits[5] = {0};
    memcpy(digits, at, 4);
    char *rest;
    long unit = strtol(digits, &rest, 16);
    return rest == digits + 4 && digits[0] != '-' && digits[0] != '+' && digits[0] != ' ' ? unit : -1;
}

static bool read_string(json_reader *reader) {
    if (!read_word(reader, "\"")) return false;
    while (reader->at < reader->end) {
        unsigned char byte = (unsigned char)*reader->at++;
        if (byte == '"') return true;
        if (byte < 0x20) return false;
        if (byte != '\\') continue;
        if (reader->at == reader->end) return false;
        char escape = *reader->at++;
        if (escape == 'u') {
            if (read_unit(reader->at, reader->end) < 0) return false;
            reader->at += 4;
        } else if (!escape || !strchr("\"\\/bfnrt", escape)) {
            return false;
        }
    }
    return false;
}

/* A list or, with `keys`, a table; its opening sign is taken. */
static bool read_members(json_reader *reader, bool keys, char closing) {
    if (++reader->depth > DEPTH_MAX) return false;
    json_value member;
    bool more = !take(reader, closing);
    while (more) {
        skip_space(reader);
        if (keys && (!read_string(reader) || !take(reader, ':'))) return false;
        if (!read_value(reader, &member)) return false;
        more = take(reader, ',');
        if (!more && !take(reader, closing)) return false;
    }
    reader->depth--;
    return true;
}

static bool read_value(json_reader *reader, json_value *value) {
    skip_space(reader);
    if (reader->at == reader->end) return false;
    value->start = reader->at;
    bool good;
    switch (*reader->at) {
        case 'n': value->kind = JSON_NULL, good = read_word(reader, "null"); break;
        case 't': value->kind = JSON_TRUE, good = read_word(reader, "true"); break;
        case 'f': value->kind = JSON_FALSE, good = read_word(reader, "false"); break;
        case '"': value->kind = JSON_STRING, good = read_string(reader); break;
        case '[': value->kind = JSON_LIST, reader->at++, good = read_members(reader, false, ']'); break;
        case '{': value->kind = JSON_TABLE, reader->at++, good = read_members(reader, true, '}'); break;
        default: value->kind = JSON_NUMBER, good = read_number(reader);
    }
    value->end = reader->at;
    return good;
}

static char *append_utf8(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* The text of a JSON string, ended by a zero byte; NULL if it holds one, or half of a surrogate pair. */
static char *unescape(const json_value *value) {
    char *text = allocate((size_t)(value->end - value->start)), *to = text;
    for (const char *at = value->start + 1; at < value->end - 1; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        static const char escapes[] = "bfnrt", bytes[] = "\b\f\n\r\t";
        const char *escape = strchr(escapes, *++at);
        if (*at != 'u') {
            *to++ = escape ? bytes[escape - escapes] : *at;
            continue;
        }
        long code = read_unit(at + 1, value->end);
        at += 4;
        if (code >= 0xd800 && code < 0xdc00 && at[1] == '\\' && at[2] == 'u') {
            long low = read_unit(at + 3, value->end);
            if (low < 0xdc00 || low > 0xdfff) return NULL;
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        if (code <= 0 || (code >= 0xd800 && code < 0xe000)) return NULL;
        to = append_utf8(to, (uint32_t)code);
    }
    *to = 0;
    return text;
}

/* A JSON value in a few words. */
static const char *describe(const json_value *value) {
    int size = (int)(value->end - value->start);
    switch (value->kind) {
        case JSON_NULL: return "null";
        case JSON_TRUE: return "the boolean true";
        case JSON_FALSE: return "the boolean false";
        case JSON_NUMBER: return ruminate_format("the number %.*s", size, value->start);
        case JSON_STRING: return ruminate_format("the text %.*s", size, value->start);
        case JSON_LIST: return "a list";
        default: return "a table";
    }
}

/* Whether `text` is among `choices`, which are separated by `|`. */
static bool is_choice(const char *choices, const char *text) {
    size_t size = strlen(text);
    for (const char *at = choices; *at; at += strcspn(at, "|"), at += *at == '|') {
        if (strcspn(at, "|") == size && memcmp(at, text, size) == 0) return true;
    }
    return false;
}

/* `choices` with `before` and `after` around each. */
static char *list_choices(const char *choices, const char *before, const char *after) {
    text_buffer list = {0};
    for (const char *at = choices; *at;) {
        size_t size = strcspn(at, "|");
        append(&list, "%s%s%.*s%s", at == choices ? "" : ", ", before, (int)size, at, after);
        at += size + (at[size] == '|');
    }
    return list.data;
}

static const char *wanted(const ruminate_option *option) {
    switch (option->kind) {
        case RUMINATE_KIND_TEXT:
            if (!option->choices) return "a text that is not empty";
            return ruminate_format("one of %s", list_choices(option->choices, "`", "`"));
        case RUMINATE_KIND_BOOLEAN: return "a boolean";
        case RUMINATE_KIND_INT: {
            bool low = option->whole_min != INT64_MIN, high = option->whole_max != INT64_MAX;
            long long min = option->whole_min, max = option->whole_max;
            if (low && high) return ruminate_format("a whole number from %lld to %lld", min, max);
            if (low) return ruminate_format("a whole number of at least %lld", min);
            return high ? ruminate_format("a whole number of at most %lld", max) : "a whole number";
        }
        default: {
            bool low = option->number_min != -INFINITY, high = option->number_max != INFINITY;
            double min = option->number_min, max = option->number_max;
            if (low && high) return ruminate_format("a number from %.15g to %.15g", min, max);
            if (low) return ruminate_format("a number of at least %.15g", min);
            return high ? ruminate_format("a number of at most %.15g", max) : "a number";
        }
    }
}

/* Sets `option` to `value`; false if it does not fit. */
static bool set_option(ruminate_option *option, const json_value *value) {
    size_t size = (size_t)(value->end - value->start);
    errno = 0;
    switch (option->kind) {
        case RUMINATE_KIND_TEXT:
            if (value->kind != JSON_STRING || !(option->text = unescape(value))) return false;
            return *option->text && (!option->choices || is_choice(option->choices, option->text));
        case RUMINATE_KIND_BOOLEAN:
            option->truth = value->kind == JSON_TRUE;
            return value->kind == JSON_TRUE || value->kind == JSON_FALSE;
        case RUMINATE_KIND_INT:
            if (value->kind != JSON_NUMBER || strcspn(value->start, ".eE") < size) return false;
            option->whole = strtoll(value->start, NULL, 10);
            return errno == 0 && option->whole >= option->whole_min && option->whole <= option->whole_max;
        default:
            if (value->kind != JSON_NUMBER) return false;
            option->number = strtod(value->start, NULL);
            if (!isfinite(option->number)) return false;
            return option->number >= option->number_min && option->number <= option->number_max;
    }
}

static const char *set_key(size_t count, const char *key, const json_value *value) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(values[i].name, key) != 0) continue;
        if (set_option(&values[i], value)) return NULL;
        return ruminate_format("`%s` must be %s, not %s", key, wanted(&values[i]), describe(value));
    }
    text_buffer known = {0};
    for (size_t i = 0; i < count; i++) append(&known, "%s`%s`", i ? ", " : "", values[i].name);
    return ruminate_format("unknown key `%s`: expected %s", key, count ? known.data : "no keys");
}

static const char *not_json(const json_reader *reader) {
    return ruminate_format("the config is not JSON: it goes wrong at byte %d", (int)(reader->at - reader->start));
}

const char *read_config(const ruminate_option *options, const char *json, size_t size) {
    size_t count = 0;
    while (options && options[count].name) count++;
    values = allocate((count + 1) * sizeof *values);
    if (count) memcpy(values, options, count * sizeof *values);
    values[count] = (ruminate_option)RUMINATE_END;

    /* A copy that ends with a zero byte, where strtod stops. */
    char *source = allocate(size + 1);
    memcpy(source, json, size);
    source[size] = 0;
    json_reader reader = {source, source, source + size, 0};
    json_value whole;
    bool good = read_value(&reader, &whole);
    skip_space(&reader);
    if (!good || reader.at != reader.end) return not_json(&reader);
    if (whole.kind != JSON_TABLE) return ruminate_format("the config must be a table, not %s", describe(&whole));

    reader.at = whole.start + 1;
    while (!take(&reader, '}')) {
        json_value name = {.kind = JSON_STRING}, value;
        skip_space(&reader);
        name.start = reader.at;
        read_string(&reader);
        name.end = reader.at;
        take(&reader, ':');
        read_value(&reader, &value);
        take(&reader, ',');
        const char *key = unescape(&name);
        const char *error = set_key(count, key ? key : "?", &value);
        if (error) return error;
    }
    for (size_t i = 0; i < count; i++) {
        bool missing = values[i].kind == RUMINATE_KIND_TEXT && !values[i].text;
        if (missing) return ruminate_format("`%s` is missing: it must be %s", values[i].name, wanted(&values[i]));
    }
    return NULL;
}

static const ruminate_option *find(const char *name, int kind) {
    static const char *const kinds[] = {"", "text", "int", "float", "boolean"};
    for (const ruminate_option *option = values; option && option->name; option++) {
        if (strcmp(option->name, name) != 0) continue;
        if ((int)option->kind == kind) return option;
        ruminate_fail("option `%s` is asked for as %s, and is %s", name, kinds[kind], kinds[option->kind]);
    }
    ruminate_fail("there is no option `%s`", name);
}

const char *ruminate_option_text(const char *name) { return find(name, RUMINATE_KIND_TEXT)->text; }

int64_t ruminate_option_int(const char *name) { return find(name, RUMINATE_KIND_INT)->whole; }

double ruminate_option_float(const char *name) { return find(name, RUMINATE_KIND_FLOAT)->number; }

bool ruminate_option_boolean(const char *name) { return find(name, RUMINATE_KIND_BOOLEAN)->truth; }

/* Appends `text` as a JSON string. */
static void append_string(text_buffer *buffer, const char *text) {
    append(buffer, "\"");
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') append(buffer, "\\%c", byte);
        else if (byte < 0x20) append(buffer, "\\u%04x", byte);
        else append(buffer, "%c", byte);
    }
    append(buffer, "\"");
}

static void append_property(text_buffer *schema, const ruminate_option *option) {
    append_string(schema, option->name);
    append(schema, ":{\"description\":");
    append_string(schema, option->help ? option->help : "");
    switch (option->kind) {
        case RUMINATE_KIND_TEXT:
            append(schema, ",\"type\":\"string\",\"minLength\":1");
            if (option->choices) append(schema, ",\"enum\":[%s]", list_choices(option->choices, "\"", "\""));
            if (option->text) append(schema, ",\"default\":"), append_string(schema, option->text);
            break;
        case RUMINATE_KIND_INT:
            append(schema, ",\"type\":\"integer\",\"default\":%lld", (long long)option->whole);
            if (option->whole_min != INT64_MIN) append(schema, ",\"minimum\":%lld", (long long)option->whole_min);
            if (option->whole_max != INT64_MAX) append(schema, ",\"maximum\":%lld", (long long)option->whole_max);
            break;
        case RUMINATE_KIND_FLOAT:
            append(schema, ",\"type\":\"number\",\"default\":%.15g", option->number);
            if (option->number_min != -INFINITY) append(schema, ",\"minimum\":%.15g", option->number_min);
            if (option->number_max != INFINITY) append(schema, ",\"maximum\":%.15g", option->number_max);
            break;
        default: append(schema, ",\"type\":\"boolean\",\"default\":%s", option->truth ? "true" : "false");
    }
    append(schema, "}");
}

char *config_schema(const ruminate_option *options) {
    text_buffer schema = {0}, required = {0};
    append(&schema, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (const ruminate_option *option = options; option && option->name; option++) {
        if (option != options) append(&schema, ",");
        append_property(&schema, option);
        if (option->kind != RUMINATE_KIND_TEXT || option->text) continue;
        append(&required, required.data ? "," : ""), append_string(&required, option->name);
    }
    append(&schema, "}");
    if (required.data) append(&schema, ",\"required\":[%s]", required.data);
    append(&schema, "}");
    return schema.data;
}
