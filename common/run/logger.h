/* Where log lines go: to the journal with fields of their own when systemd runs us, else to stderr
 * as logfmt.
 *
 * A line that repeats word for word is written at most once a second; the next one written says how
 * often it came meanwhile. A logger belongs to one thread. */
#ifndef PARLEY_RUN_LOGGER_H
#define PARLEY_RUN_LOGGER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/slice.h"

enum { LOGGER_REMEMBERED = 32, LOGGER_NAME_BYTES = 65 };

struct logger_memory {
	uint64_t hash; /* of level and text */
	int64_t written_ms;
	uint32_t suppressed;
	enum log_level level;
	char text[160]; /* begins the line, for the count that nobody asked for */
};

struct logger {
	enum log_level level; /* nothing below is written */
	bool journal;
	int fd;
	char role[LOGGER_NAME_BYTES];
	char node[LOGGER_NAME_BYTES];
	struct logger_memory memory[LOGGER_REMEMBERED];
	uint64_t lines[LOG_LEVEL_FATAL + 1]; /* asked for, written or not */
	struct buf line;
};

void logger_open(struct logger *l, const char *role, const char *node, enum log_level level);
void logger_close(struct logger *l);
/* The text is `event key=value ...`. */
void logger_text(struct logger *l, enum log_level level, struct slice text);
void logger_printf(struct logger *l, enum log_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Writes the counts of lines held back more than a second ago; call it about once a second. */
void logger_tick(struct logger *l);
/* debug, info, warn, error; false for another word. */
bool logger_level_of(const char *word, enum log_level *level);

#endif
