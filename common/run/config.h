/* Configuration: one table of options per daemon makes the YAML schema, the environment's names,
 * the flags, --help and
 * --print-config. Later layers win: built-in < file(s), in order < PARLEY_<NAME> < --<name>. An
 * unknown key refuses to start, with file and line. */
#ifndef PARLEY_RUN_CONFIG_H
#define PARLEY_RUN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

enum config_type { CONFIG_TEXT, CONFIG_NUMBER, CONFIG_BOOL };

struct config_option {
	const char *name; /* as in YAML; units last */
	enum config_type type;
	const char *value; /* built-in; NULL: must be given */
	uint64_t min, max; /* numbers */
	const char *meaning;
};

struct config_value {
	char *text;
	uint64_t number;
	char *origin; /* "built-in", "file:line", "PARLEY_X", "--x" */
};

struct config {
	const struct config_option **options; /* common ones, then the daemon's */
	struct config_value *values;
	uint32_t count;
};

enum config_outcome {
	CONFIG_RUN,
	CONFIG_DONE, /* --help, --print-config, --version: exit 0 */
	CONFIG_WRONG
};

/* Reads argv and the environment. What --help and the like print, and what is wrong, goes to *text.
 */
enum config_outcome config_read(struct config *c, const struct config_option *own,
				uint32_t own_count, int argc, char **argv, struct buf *text);
void config_close(struct config *c);

/* The option must be in the table. */
const char *config_text(const struct config *c, const char *name);
uint64_t config_number(const struct config *c, const char *name);
bool config_bool(const struct config *c, const char *name);

#endif
