/* What the files of the SDK share; not for authors. */

#ifndef RUMINATE_INTERNAL_H
#define RUMINATE_INTERNAL_H

#include "ruminate.h"

/* A text that grows. */
typedef struct {
    char *data;
    size_t size, capacity;
} text_buffer;

void append(text_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory, or a failed record. */
void *allocate(size_t size);

/* Reads the config; NULL, or what is wrong with it. */
const char *read_config(const ruminate_option *options, const char *json, size_t size);

/* The JSON Schema of a config. */
char *config_schema(const ruminate_option *options);

#endif
