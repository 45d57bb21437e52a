/* Reads a YAML file into C structs by libcyaml, and says in words, with file:line:column, what is
 * wrong with it. */
#ifndef PARLEY_RUN_YAML_FILE_H
#define PARLEY_RUN_YAML_FILE_H

#include <cyaml/cyaml.h>
#include <stdbool.h>

#include "common/base/buf.h"

enum { YAML_FILE_BYTES = 1024 * 1024 };

/* Loads path. *data is NULL for an empty file; release with yaml_unload. *text is filled with the
 * file, for yaml_where. On failure *problem is one line. */
bool yaml_load(const char *path, const cyaml_schema_value_t *schema, void **data, struct buf *text,
	       struct buf *problem) MUST_CHECK;
void yaml_unload(const cyaml_schema_value_t *schema, void *data);

struct yaml_place {
	unsigned line; /* 0: unknown */
	unsigned column;
};
/* Where `key: value` stands (value NULL: any): with from_line 0 the last such line, else the first
 * at or after it. */
struct yaml_place yaml_where(const struct buf *text, const char *key, const char *value,
			     unsigned from_line);
/* Appends "path:line:column: ", or "path: " where the line is unknown. */
void yaml_append_place(struct buf *out, const char *path, struct yaml_place place);
/* For one line of a complaint: control characters, which quotes let into a file, as '?'. */
void yaml_append_value(struct buf *out, const char *value);

#endif
