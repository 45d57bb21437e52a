#include "common/run/yaml_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/run/file.h"

/* What libcyaml said while loading: it speaks only through its log. */
struct yaml_report {
	char first[256]; /* first line of its complaint */
	char key[128];   /* the key that it did not expect */
	struct yaml_place place;
};

/* The number that follows a label; 0 when there is none, as lines and columns start at 1. */
static unsigned number_after(const char *line, const char *label)
{
	const char *at = strstr(line, label);
	return at ? (unsigned)strtoul(at + strlen(label), NULL, 10) : 0;
}

static void note_line(struct yaml_report *report, const char *line)
{
	static const char unexpected[] = "Unexpected key: ";
	const char *key = strstr(line, unexpected);
	if (key)
		snprintf(report->key, sizeof report->key, "%.100s", key + strlen(unexpected));
	if (report->place.line == 0)
		report->place = (struct yaml_place){
		    .line = number_after(line, "(line: "),
		    .column = number_after(line, ", column: "),
		};
	if (report->first[0] == '\0' && strstr(line, "Backtrace") == NULL) {
		const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
		snprintf(report->first, sizeof report->first, "%.200s", text);
	}
}

static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
	(void)level;
	char line[512];
	vsnprintf(line, sizeof line, format, args);
	line[strcspn(line, "\n")] = '\0';
	note_line(context, line);
}

static cyaml_config_t config_for(struct yaml_report *report)
{
	return (cyaml_config_t){.log_fn = on_log,
				.log_ctx = report,
				.log_level = CYAML_LOG_WARNING,
				.mem_fn = cyaml_mem,
				.flags = CYAML_CFG_NO_ALIAS};
}

static bool is_key_end(int c)
{
	return c == ':' || c == ' ' || c == '\t';
}

/* Is the value there as a whole, not only as part of a longer one? */
static bool has_value(const char *rest, size_t len, const char *value)
{
	size_t value_len = strlen(value);
	const char *end = rest + len;
	for (const char *at = rest; (at = memmem(at, (size_t)(end - at), value, value_len)); at++) {
		const char *after = at + value_len;
		if (strchr(": \t\"'", at[-1]) && (after == end || strchr(" \t\"',}\r", *after)))
			return true;
	}
	return false;
}

/* Does this line say `key: value`, perhaps as the first of a list item? Returns the key's column,
 * or 0. */
static unsigned key_column(const char *line, size_t len, const char *key, const char *value)
{
	size_t at = 0;
	while (at < len &&
	       (line[at] == ' ' || line[at] == '-' || line[at] == '"' || line[at] == '{'))
		at++;
	size_t key_len = strlen(key);
	if (len - at <= key_len || memcmp(line + at, key, key_len) != 0)
		return 0;
	size_t end = at + key_len;
	if (line[end] == '"')
		end++;
	if (end >= len || !is_key_end(line[end]))
		return 0;
	if (value && !has_value(line + end + 1, len - end - 1, value))
		return 0;
	return (unsigned)at + 1;
}

struct yaml_place yaml_where(const struct buf *text, const char *key, const char *value,
			     unsigned from_line)
{
	struct yaml_place found = {0, 0};
	const char *at = (const char *)text->data;
	const char *end = at + text->len;
	for (unsigned line = 1; at < end; line++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t len = newline ? (size_t)(newline - at) : (size_t)(end - at);
		unsigned column = line >= from_line ? key_column(at, len, key, value) : 0;
		if (column)
			found = (struct yaml_place){line, column};
		if (!newline || (column && from_line > 0))
			break;
		at = newline + 1;
	}
	return found;
}

void yaml_append_place(struct buf *out, const char *path, struct yaml_place place)
{
	if (place.line)
		buf_printf(out, "%s:%u:%u: ", path, place.line, place.column);
	else
		buf_printf(out, "%s: ", path);
}

void yaml_append_value(struct buf *out, const char *value)
{
	for (const char *p = value; *p; p++)
		buf_append_byte(out, (uint8_t)*p < ' ' || *p == 127 ? '?' : (uint8_t)*p);
}

/* libcyaml's place for an unknown key is where the token before it stood: look for the key from
 * there on. */
static void describe(const char *path, const struct buf *text, const struct yaml_report *report,
		     cyaml_err_t error, struct buf *problem)
{
	if (report->key[0] != '\0') {
		unsigned from = report->place.line ? report->place.line : 1;
		yaml_append_place(problem, path, yaml_where(text, report->key, NULL, from));
		buf_printf(problem, "unknown key '%s'", report->key);
		return;
	}
	yaml_append_place(problem, path, report->place);
	buf_append_text(problem, report->first[0] ? report->first : cyaml_strerror(error));
}

bool yaml_load(const char *path, const cyaml_schema_value_t *schema, void **data, struct buf *text,
	       struct buf *problem)
{
	*data = NULL;
	buf_clear(text);
	if (!file_read(path, YAML_FILE_BYTES, text, problem))
		return false;
	if (text->len == 0)
		return true;
	struct yaml_report report = {.place = {0, 0}};
	cyaml_config_t config = config_for(&report);
	cyaml_data_t *loaded = NULL;
	cyaml_err_t error = cyaml_load_data(text->data, text->len, &config, schema, &loaded, NULL);
	if (error != CYAML_OK) {
		describe(path, text, &report, error, problem);
		return false;
	}
	*data = loaded;
	return true;
}

void yaml_unload(const cyaml_schema_value_t *schema, void *data)
{
	struct yaml_report report = {.place = {0, 0}};
	cyaml_config_t config = config_for(&report);
	if (data)
		cyaml_free(&config, schema, data, 0);
}
