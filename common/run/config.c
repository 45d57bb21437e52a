#include "common/run/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/utf8.h"
#include "common/run/yaml_file.h"
#include "common/version.h"

extern char **environ;

enum { CONFIG_FILES_MAX = 8, CONFIG_TEXT_BYTES = 4096 };

static const struct config_option common_options[] = {
    {"name", CONFIG_TEXT, NULL, 0, 0, "member name, as in the member list"},
    {"members_file", CONFIG_TEXT, "/etc/parley/members.yaml", 0, 0,
     "member list: cluster, names, roles, public keys, addresses"},
    {"key_file", CONFIG_TEXT, NULL, 0, 0, "CURVE secret key of this member (Z85); mode 0600"},
    {"bind", CONFIG_TEXT, "", 0, 0,
     "listen for members here (tcp://host:port) instead of at the address in the list"},
    {"health_address", CONFIG_TEXT, "127.0.0.1", 0, 0, "address of the health listener"},
    {"health_port", CONFIG_NUMBER, "9443", 0, 65535,
     "port of the health listener (HTTPS, no client certificate); 0: any, see the log"},
    {"tls_cert", CONFIG_TEXT, NULL, 0, 0, "server certificate chain (PEM)"},
    {"tls_key", CONFIG_TEXT, NULL, 0, 0,
     "its private key (PEM); mode 0600 or group-readable credentials"},
    {"log_level", CONFIG_TEXT, "info", 0, 0, "debug, info, warn or error; read again on SIGHUP"},
    {"drain_timeout_ms", CONFIG_NUMBER, "5000", 0, 600000,
     "after SIGTERM: at most so long for requests under way"},
};

/* ---- layers ---- */

static bool set_value(struct config *c, uint32_t i, const char *text, const char *origin,
		      struct buf *problem)
{
	const struct config_option *o = c->options[i];
	struct config_value *v = &c->values[i];
	uint64_t number = 0;
	if (o->type == CONFIG_NUMBER) {
		char *end;
		errno = 0;
		number = strtoull(text, &end, 10);
		if (!isdigit((unsigned char)text[0]) || errno || *end || number < o->min ||
		    number > o->max) {
			buf_printf(problem, "%s: %s must be a number from %llu to %llu, not \"%s\"",
				   origin, o->name, (unsigned long long)o->min,
				   (unsigned long long)o->max, text);
			return false;
		}
	} else if (o->type == CONFIG_BOOL) {
		number = strcmp(text, "true") == 0;
		if (!number && strcmp(text, "false") != 0) {
			buf_printf(problem, "%s: %s must be true or false, not \"%s\"", origin,
				   o->name, text);
			return false;
		}
	}
	free(v->text);
	free(v->origin);
	*v = (struct config_value){mem_strdup(text), number, mem_strdup(origin)};
	return true;
}

/* Flags may be written with dashes. */
static bool same_name(const char *option, const char *name, size_t len)
{
	size_t i = 0;
	while (i < len && option[i] == (name[i] == '-' ? '_' : name[i]))
		i++;
	return i == len && option[len] == '\0';
}

static int option_index(const struct config *c, const char *name, size_t len)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (same_name(c->options[i]->name, name, len))
			return (int)i;
	return -1;
}

static bool set_defaults(struct config *c, struct buf *problem)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->options[i]->value &&
		    !set_value(c, i, c->options[i]->value, "built-in", problem))
			return false;
	return true;
}

/* The file becomes an array of texts, one for each option, through a schema made from the table. */
static bool set_from_file(struct config *c, const char *path, struct buf *problem)
{
	cyaml_schema_field_t *fields = mem_alloc_zero((c->count + 1) * sizeof *fields);
	for (uint32_t i = 0; i < c->count; i++) {
		fields[i].key = c->options[i]->name;
		fields[i].data_offset = (uint32_t)(i * sizeof(char *));
		fields[i].value.type = CYAML_STRING;
		fields[i].value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
		fields[i].value.data_size = sizeof(char);
		fields[i].value.string.max = CONFIG_TEXT_BYTES;
	}
	cyaml_schema_value_t schema = {.type = CYAML_MAPPING,
				       .flags = CYAML_FLAG_POINTER,
				       .data_size = (uint32_t)(c->count * sizeof(char *))};
	schema.mapping.fields = fields;
	struct buf text = {0};
	void *data = NULL;
	bool ok = yaml_load(path, &schema, &data, &text, problem);
	char **texts = data;
	for (uint32_t i = 0; ok && texts && i < c->count; i++) {
		if (!texts[i])
			continue;
		struct buf origin = {0};
		yaml_append_place(&origin, path, yaml_where(&text, c->options[i]->name, NULL, 1));
		origin.len -= 2; /* without ": " */
		ok = set_value(c, i, texts[i], buf_cstr(&origin), problem);
		buf_close(&origin);
	}
	if (data)
		yaml_unload(&schema, data);
	buf_close(&text);
	free(fields);
	return ok;
}

static bool set_from_environment(struct config *c, struct buf *problem)
{
	bool ok = true;
	struct buf name = {0};
	for (uint32_t i = 0; ok && i < c->count; i++) {
		buf_clear(&name);
		buf_append_text(&name, "PARLEY_");
		for (const char *p = c->options[i]->name; *p; p++)
			buf_append_byte(&name, (uint8_t)toupper((unsigned char)*p));
		const char *text = getenv(buf_cstr(&name));
		ok = !text || set_value(c, i, text, buf_cstr(&name), problem);
	}
	buf_close(&name);
	return ok;
}

static bool is_bool(const char *text)
{
	return text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);
}

/* The value of a flag without '=': the next argument, or true for a switch that stands alone. *at
 * is moved past what was read. */
static const char *next_value(const struct config_option *o, int argc, char **argv, int *at)
{
	const char *next = *at + 1 < argc ? argv[*at + 1] : NULL;
	if (o->type == CONFIG_BOOL && !is_bool(next))
		return "true";
	*at += next != NULL;
	return next;
}

/* --name=value or --name value. */
static bool set_from_flag(struct config *c, int argc, char **argv, int *at, struct buf *problem)
{
	const char *flag = argv[*at];
	bool dashes = strncmp(flag, "--", 2) == 0;
	const char *equals = strchr(flag, '=');
	size_t len = equals ? (size_t)(equals - flag) : strlen(flag);
	int i = dashes ? option_index(c, flag + 2, len - 2) : -1;
	if (i < 0) {
		buf_printf(problem, "unknown argument %s; --help lists them", flag);
		return false;
	}
	const char *value = equals ? equals + 1 : next_value(c->options[i], argc, argv, at);
	if (!value) {
		buf_printf(problem, "--%s needs a value", c->options[i]->name);
		return false;
	}
	struct buf origin = {0};
	buf_printf(&origin, "--%s", c->options[i]->name);
	bool ok = set_value(c, (uint32_t)i, value, buf_cstr(&origin), problem);
	buf_close(&origin);
	return ok;
}

/* ---- what it prints ---- */

static void print_help(const struct config *c, struct buf *out)
{
	buf_append_text(out, "--config FILE        YAML file; may be repeated, later ones win\n"
			     "--print-config       effective values and where they come from\n"
			     "--version, --help\n");
	for (uint32_t i = 0; i < c->count; i++)
		buf_printf(out, "--%-18s %s%s%s%s\n", c->options[i]->name, c->options[i]->meaning,
			   c->options[i]->value ? " [" : " (required)",
			   c->options[i]->value ? c->options[i]->value : "",
			   c->options[i]->value ? "]" : "");
}

/* Of a character of `len` bytes. */
static uint32_t code_point(const char *at, size_t len)
{
	uint32_t code = (uint8_t)at[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++)
		code = code << 6 | ((uint8_t)at[i] & 0x3f);
	return code;
}

/* YAML takes these only as escapes, or reads a line's end in them. */
static bool must_escape(uint32_t code)
{
	return code < 0xa0 || code == 0x2028 || code == 0x2029 || code == 0xfeff ||
	       code == 0xfffe || code == 0xffff;
}

static void print_quoted(struct buf *out, const char *text)
{
	buf_append_byte(out, '"');
	for (size_t left = strlen(text), len; left > 0; text += len, left -= len) {
		unsigned char c = (unsigned char)*text;
		len = utf8_char((const uint8_t *)text, left);
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (len == 0 || c < 0x20 || c == 0x7f)
			buf_printf(out, "\\x%02x", c);
		else if (len > 1 && must_escape(code_point(text, len)))
			buf_printf(out, "\\u%04x", code_point(text, len));
		else
			buf_append(out, text, len);
		len += len == 0;
	}
	buf_append_byte(out, '"');
}

/* YAML that loads again. */
static void print_values(const struct config *c, struct buf *out)
{
	for (uint32_t i = 0; i < c->count; i++) {
		if (!c->values[i].text) {
			buf_printf(out, "# %s: is not given\n", c->options[i]->name);
			continue;
		}
		buf_printf(out, "%s: ", c->options[i]->name);
		print_quoted(out, c->values[i].text);
		buf_printf(out, " # %s\n", c->values[i].origin);
	}
}

static bool all_given(const struct config *c, struct buf *problem)
{
	for (uint32_t i = 0; i < c->count; i++) {
		if (!c->values[i].text) {
			buf_printf(problem, "%s must be given: %s", c->options[i]->name,
				   c->options[i]->meaning);
			return false;
		}
	}
	return true;
}

struct wants {
	const char *files[CONFIG_FILES_MAX];
	int files_count;
	bool help;
	bool print;
	bool version;
};

/* First pass: files and the like; the flags proper are taken last, since they win. */
static bool scan_arguments(int argc, char **argv, struct wants *w, struct buf *problem)
{
	for (int i = 1; i < argc; i++) {
		w->help = w->help || strcmp(argv[i], "--help") == 0;
		w->print = w->print || strcmp(argv[i], "--print-config") == 0;
		w->version = w->version || strcmp(argv[i], "--version") == 0;
		const char *file = NULL;
		if (strncmp(argv[i], "--config=", 9) == 0)
			file = argv[i] + 9;
		else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			file = argv[++i];
		if (!file)
			continue;
		if (w->files_count == CONFIG_FILES_MAX) {
			buf_append_text(problem, "too many --config files");
			return false;
		}
		w->files[w->files_count++] = file;
	}
	return true;
}

static bool take_flags(struct config *c, int argc, char **argv, struct buf *problem)
{
	bool ok = true;
	for (int i = 1; ok && i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "--print-config") == 0 ||
		    strcmp(argv[i], "--version") == 0 || strncmp(argv[i], "--config=", 9) == 0)
			continue;
		if (strcmp(argv[i], "--config") == 0)
			i++;
		else
			ok = set_from_flag(c, argc, argv, &i, problem);
	}
	return ok;
}

enum config_outcome config_read(struct config *c, const struct config_option *own,
				uint32_t own_count, int argc, char **argv, struct buf *text)
{
	struct wants wants = {.files_count = 0};
	uint32_t common = ARRAY_LEN(common_options);
	c->count = common + own_count;
	c->options = mem_alloc_zero(c->count * sizeof *c->options);
	c->values = mem_alloc_zero(c->count * sizeof *c->values);
	for (uint32_t i = 0; i < c->count; i++)
		c->options[i] = i < common ? &common_options[i] : &own[i - common];
	if (!scan_arguments(argc, argv, &wants, text))
		return CONFIG_WRONG;
	if (wants.help) {
		print_help(c, text);
		return CONFIG_DONE;
	}
	if (wants.version) {
		buf_append_text(text, PARLEY_VERSION "\n");
		return CONFIG_DONE;
	}
	bool ok = set_defaults(c, text);
	for (int i = 0; ok && i < wants.files_count; i++)
		ok = set_from_file(c, wants.files[i], text);
	ok = ok && set_from_environment(c, text) && take_flags(c, argc, argv, text);
	if (ok && wants.print) {
		print_values(c, text);
		return CONFIG_DONE;
	}
	return ok && all_given(c, text) ? CONFIG_RUN : CONFIG_WRONG;
}

void config_close(struct config *c)
{
	for (uint32_t i = 0; i < c->count; i++) {
		free(c->values[i].text);
		free(c->values[i].origin);
	}
	free(c->values);
	free(c->options);
	*c = (struct config){0};
}

static const struct config_value *value_of(const struct config *c, const char *name)
{
	int i = option_index(c, name, strlen(name));
	CHECK(i >= 0);
	return &c->values[i];
}

const char *config_text(const struct config *c, const char *name)
{
	return value_of(c, name)->text;
}

uint64_t config_number(const struct config *c, const char *name)
{
	return value_of(c, name)->number;
}

bool config_bool(const struct config *c, const char *name)
{
	return value_of(c, name)->number != 0;
}
