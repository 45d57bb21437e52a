/* Errors, names and paths of the CouchDB dialect. */
#include "gateway/couch/couch.h"

#include <stdio.h>

#include "common/doc/utf8.h"
#include "gateway/routes.h"
#include "gateway/url.h"

/* ---- errors ---- */

static const struct {
	int http;
	const char *error;
	const char *reason;
} errors[] = {
    {0, "", ""},
#define COUCH_ERROR(name, http, error, reason) {http, error, reason},
#include "gateway/couch/errors.def"
#undef COUCH_ERROR
};

bool couch_problem(struct problem *p, enum couch_error error, const char *detail)
{
	problem_detail(p, STATUS_BAD_PARAMETER, "", detail);
	p->couch = error;
	return false;
}

/* Statuses that CouchDB has other words for. */
static enum couch_error error_of(const struct problem *p)
{
	if (p->couch != COUCH_NONE)
		return p->couch;
	switch (p->status) {
	case STATUS_INVALID_JSON:
	case STATUS_INVALID_UTF8:
	case STATUS_EMPTY_BODY:
		return COUCH_BAD_JSON;
	case STATUS_WRONG_TYPE:
	case STATUS_DUPLICATE_KEY:
	case STATUS_JSON_TOO_DEEP:
	case STATUS_BAD_MESSAGE:
		return COUCH_BAD_REQUEST;
	case STATUS_BAD_REVISION:
		return COUCH_BAD_REV;
	case STATUS_BAD_PARAMETER:
		return COUCH_BAD_PARAMETER;
	case STATUS_BAD_ID:
		return COUCH_BAD_ID;
	case STATUS_BAD_NAME:
		return COUCH_BAD_NAME;
	case STATUS_NOT_FOUND:
	case STATUS_NO_ROUTE:
		return COUCH_MISSING;
	case STATUS_METHOD_NOT_ALLOWED:
		return COUCH_NOT_ALLOWED;
	case STATUS_CONFLICT:
	case STATUS_EXISTS:
	case STATUS_ID_TAKEN:
	case STATUS_PRECONDITION_FAILED:
		return COUCH_CONFLICT;
	case STATUS_BODY_TOO_LARGE:
		return COUCH_TOO_LARGE;
	case STATUS_MISSING_ATTACHMENT:
		return COUCH_MISSING_STUB;
	case STATUS_BAD_ATTACHMENT:
		return COUCH_BAD_REQUEST;
	default:
		return COUCH_NONE;
	}
}

int couch_http(const struct problem *p)
{
	enum couch_error error = error_of(p);
	return error == COUCH_NONE ? status_row(p->status)->http : errors[error].http;
}

void couch_error_members(const struct problem *p, struct buf *out)
{
	const struct status_row *row = status_row(p->status);
	enum couch_error error = error_of(p);
	const char *reason = error == COUCH_NONE ? row->text : errors[error].reason;
	struct buf text = {0};
	if (error == COUCH_BAD_NAME && p->detail[0])
		buf_printf(&text, "Name: '%s'. %s", p->detail, reason);
	else if (p->status == STATUS_DUPLICATE_KEY || p->status == STATUS_JSON_TOO_DEEP)
		buf_printf(&text, "%s %s", row->text, p->detail);
	else if (error == COUCH_NONE || error == COUCH_BAD_JSON || p->detail[0] == 0)
		buf_append_text(&text, reason); /* clients compare what is said of JSON */
	else
		buf_append_text(&text, p->detail);
	if (p->couch == COUCH_NONE && p->place[0] && error != COUCH_CONFLICT &&
	    error != COUCH_MISSING && error != COUCH_BAD_JSON)
		buf_printf(&text, " (%s)", p->place);
	buf_append_text(out, "\"error\":");
	json_string(slice_text(error == COUCH_NONE ? row->code : errors[error].error), out);
	buf_append_text(out, ",\"reason\":");
	if (p->reason.len == 0 || !json_from_msgpack(p->reason, out))
		json_string(buf_slice(&text), out);
	buf_close(&text);
}

void couch_error_print(const struct problem *p, struct buf *out)
{
	buf_append_byte(out, '{');
	couch_error_members(p, out);
	buf_append_byte(out, '}');
}

void couch_answer_error(struct turn *t, struct request *r, enum couch_error error)
{
	struct problem p;
	couch_problem(&p, error, "");
	answer_problem(t, r, &p);
}

void couch_allowed(struct problem *p, struct slice allow)
{
	char text[PLACE_BYTES];
	/* OPTIONS, the last of them, is no method of CouchDB's documents */
	size_t len = allow.len > 9 ? allow.len - 9 : allow.len;
	snprintf(text, sizeof text, "Only %.*s allowed", (int)len,
		 allow.len ? (const char *)allow.data : "");
	couch_problem(p, COUCH_NOT_ALLOWED, text);
}

/* ---- names ---- */

/* Databases whose names begin with an underscore, and their collections, which nobody else can
 * name. */
static const struct {
	const char *name;
	const char *collection;
} system_databases[] = {{"_users", COLLECTION_USERS},
			{"_replicator", COLLECTION_REPLICATOR},
			{COUCH_REPLICATIONS, COLLECTION_REPLICATIONS}};

bool couch_is_system_database(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(system_databases); i++)
		if (slice_is(name, system_databases[i].name))
			return true;
	return false;
}

#define SYSTEM "system"
enum { SYSTEM_BYTES = sizeof SYSTEM - 1 };

static bool is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-';
}

static bool is_special(uint8_t c)
{
	return c != 0 && strchr("_$()+/", c) != NULL;
}

static void append_escaped(uint8_t c, struct buf *out)
{
	buf_append_byte(out, '.');
	buf_append_hex(out, &c, 1);
}

bool couch_collection_name(struct slice database, struct buf *out)
{
	/* collections that begin with "system." are the cluster's own */
	bool system = database.len > SYSTEM_BYTES &&
		      memcmp(database.data, SYSTEM, SYSTEM_BYTES) == 0 &&
		      is_special(database.data[SYSTEM_BYTES]);
	buf_clear(out);
	for (size_t i = 0; i < ARRAY_LEN(system_databases); i++)
		if (slice_is(database, system_databases[i].name)) {
			buf_append_text(out, system_databases[i].collection);
			return true;
		}
	for (size_t i = 0; i < database.len; i++) {
		uint8_t c = database.data[i];
		if (is_special(c) || (system && i == 0))
			append_escaped(c, out);
		else if (is_plain(c))
			buf_append_byte(out, c);
		else
			return false;
	}
	return out->len > 0;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool couch_database_name(struct slice collection, struct buf *out)
{
	struct buf again = {0};
	buf_clear(out);
	for (size_t i = 0; i < ARRAY_LEN(system_databases); i++)
		if (slice_is(collection, system_databases[i].collection)) {
			buf_append_text(out, system_databases[i].name);
			return true;
		}
	for (size_t i = 0; i < collection.len; i++) {
		uint8_t c = collection.data[i];
		if (c == '.') {
			bool room = collection.len - i > 2;
			int high = room ? hex_value(collection.data[i + 1]) : -1;
			int low = room ? hex_value(collection.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		buf_append_byte(out, c);
	}
	/* one to one: an escape that was not needed is another name's */
	bool same = couch_collection_name(buf_slice(out), &again) &&
		    slice_equal(buf_slice(&again), collection);
	buf_close(&again);
	return same;
}

bool couch_name_fit(struct slice database)
{
	for (size_t i = 0; i < database.len; i++)
		if (database.data[i] >= 'A' && database.data[i] <= 'Z')
			return false;
	return database.len > 0 && database.data[0] >= 'a' && database.data[0] <= 'z';
}

/* ---- paths ---- */

int couch_attachment_segments(struct slice path, struct slice segments[URL_SEGMENTS_MAX])
{
	int wanted = 2;
	struct slice rest = slice_of(path.data, 0);
	size_t at = 1;
	for (int i = 0; i < wanted && at < path.len; i++) {
		size_t stop = at;
		while (stop < path.len && path.data[stop] != '/')
			stop++;
		segments[i] = slice_of(path.data + at, stop - at);
		/* behind _design/ or _local/ the document's name is to come */
		if (i == 1 && couch_segments(segments, 2) == 3) {
			wanted = 3;
			rest = slice_of(path.data + stop, path.len - stop);
			break;
		}
		if (i == 1 && (slice_is(segments[1], "_design") || slice_is(segments[1], "_local")))
			wanted = 3;
		if (i + 1 == wanted)
			rest = slice_of(path.data + stop, path.len - stop);
		at = stop + 1;
	}
	if (rest.len < 2)
		return 0;
	segments[wanted] = slice_of(rest.data + 1, rest.len - 1);
	return wanted + 1;
}

static bool begins(struct slice text, const char *with)
{
	size_t len = strlen(with);
	return text.len > len && memcmp(text.data, with, len) == 0;
}

int couch_segments(struct slice segments[URL_SEGMENTS_MAX], int count)
{
	static const char *const words[] = {"_design", "_local"};
	if (count < 2 || count == URL_SEGMENTS_MAX)
		return count;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t len = strlen(words[i]);
		struct slice s = segments[1];
		if (!begins(s, words[i]) || s.len < len + 4 || s.data[len] != '%' ||
		    s.data[len + 1] != '2' || (s.data[len + 2] | 0x20) != 'f')
			continue;
		memmove(&segments[3], &segments[2], (size_t)(count - 2) * sizeof *segments);
		segments[1] = slice_of(s.data, len);
		segments[2] = slice_of(s.data + len + 3, s.len - len - 3);
		return count + 1;
	}
	return count;
}

/* The word, or a path below it. */
static bool is_below(struct slice path, const char *word)
{
	size_t len = strlen(word);
	return path.len >= len && memcmp(path.data, word, len) == 0 &&
	       (path.len == len || path.data[len] == '/');
}

bool couch_not_built(struct slice path)
{
	struct slice parts[URL_SEGMENTS_MAX];
	if (is_below(path, "/_reshard"))
		return true;
	int count = couch_attachment_segments(path, parts);
	return count == 4 && slice_is(parts[1], "_design") && is_below(parts[3], "_rewrite");
}

bool couch_bad_name(struct slice name, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%.*s", (int)(name.len < 100 ? name.len : 100),
		 name.len ? (const char *)name.data : "");
	return couch_problem(p, COUCH_BAD_NAME, text);
}

static bool take_database(struct request *r, struct slice name, struct problem *p)
{
	struct buf collection = {0};
	bool fit = couch_collection_name(name, &collection);
	if (fit)
		r->collection = arena_copy(&r->arena, buf_slice(&collection));
	buf_close(&collection);
	if (!fit)
		return couch_bad_name(name, p);
	return r->collection.len <= LIMIT_NAME_BYTES || couch_problem(p, COUCH_NAME_LONG, "");
}

bool couch_take_path(struct request *r, const struct slice *wanted, const struct slice *segments,
		     int count, struct problem *p)
{
	for (int i = 0; i < count; i++) {
		struct slice text;
		if (wanted[i].data[0] != '{')
			continue;
		if (!url_decode(arena_copy(&r->arena, segments[i]), false, &r->arena, &text))
			return couch_problem(p, COUCH_BAD_REQUEST,
					     "A % in the path needs two hexadecimal digits.");
		if (slice_is(wanted[i], "{db}")) {
			if (!take_database(r, text, p))
				return false;
			continue;
		}
		if (slice_is(wanted[i], "{view}") || slice_is(wanted[i], "{job}"))
			r->part = text;
		if (slice_is(wanted[i], "{target}")) {
			r->couch.target = text;
			if (!couch_id_check(text, p))
				return false;
		}
		if (slice_is(wanted[i], "{ddoc}"))
			r->resource = text;
		if (slice_is(wanted[i], "{attachment}")) {
			r->part = text;
			if (!utf8_is_valid(text))
				return couch_problem(p, COUCH_BAD_REQUEST, "");
			continue;
		}
		if (!slice_is(wanted[i], "{doc}") && !slice_is(wanted[i], "{name}"))
			continue;
		r->resource = text;
		if (slice_is(wanted[i], "{name}")) {
			struct buf id = {0};
			buf_append_slice(&id, wanted[i - 1]);
			buf_append_byte(&id, '/');
			buf_append_slice(&id, text);
			r->resource = arena_copy(&r->arena, buf_slice(&id));
			buf_close(&id);
		}
		if (!couch_id_check(r->resource, p))
			return false;
	}
	return true;
}

static bool is_json(struct slice type)
{
	static const char json[] = "application/json";
	size_t len = sizeof json - 1;
	if (type.len < len || (type.len > len && type.data[len] != ';' && type.data[len] != ' '))
		return false;
	for (size_t i = 0; i < len; i++)
		if ((type.data[i] >= 'A' && type.data[i] <= 'Z' ? type.data[i] + 32
								: type.data[i]) != json[i])
			return false;
	return true;
}

bool couch_type_allowed(const struct request *r)
{
	struct slice wanted[URL_SEGMENTS_MAX];
	struct slice type = request_header(r, "content-type");
	int count = url_segments(slice_text(r->route->pattern), wanted);
	if (r->method != HTTP_POST || type.len == 0 || is_json(type))
		return true;
	for (int i = 0; i < count; i++)
		if (slice_is(wanted[i], "_session") || slice_is(wanted[i], "_update") ||
		    slice_is(wanted[i], "{doc}"))
			return true;
	return false;
}

void couch_no_route(const struct request *r, const struct slice *segments, int count,
		    struct problem *p)
{
	bool writes = r->method == HTTP_PUT || r->method == HTTP_POST;
	if (count == 1 && segments[0].len > 0 && segments[0].data[0] == '_' && writes)
		couch_bad_name(segments[0], p);
	else if (count == 2 && r->method == HTTP_PUT)
		couch_problem(p, COUCH_RESERVED_ID, "");
	else
		couch_problem(p, COUCH_MISSING, "");
}
