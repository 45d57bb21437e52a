/* What a client names when it locks: collection, collection/document, collection/document/field,
 * the same with dots, or any name. */
#include <stdio.h>

#include "gateway/lock.h"
#include "gateway/url.h"

void lock_id_print(struct slice id, struct buf *out)
{
	for (size_t i = 0; i < id.len; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf_append_byte(out, '-');
		buf_append_hex(out, id.data + i, 1);
	}
}

static int hex_of(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool lock_id_parse(struct slice text, uint8_t id[LOCK_ID_BYTES])
{
	size_t at = 0;
	if (text.len != 36)
		return false;
	for (size_t i = 0; i < LOCK_ID_BYTES; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && text.data[at++] != '-')
			return false;
		int high = hex_of(text.data[at]);
		int low = hex_of(text.data[at + 1]);
		if (high < 0 || low < 0)
			return false;
		id[i] = (uint8_t)(high << 4 | low);
		at += 2;
	}
	return true;
}

static bool has_empty_part(struct slice field)
{
	uint8_t before = '.';
	for (size_t i = 0; i < field.len; i++) {
		if (field.data[i] == '.' && before == '.')
			return true;
		before = field.data[i];
	}
	return field.len > 0 && before == '.';
}

static bool empty_part(const char *place, struct problem *p)
{
	return problem_detail(p, STATUS_BAD_PARAMETER, place,
			      "Nothing stands before, between or behind dots.");
}

static bool too_long(const char *place, uint64_t limit, uint64_t actual, struct problem *p)
{
	problem_limit(p, STATUS_BAD_PARAMETER, "lock_key_bytes", limit, actual);
	snprintf(p->place, sizeof p->place, "%s", place);
	return false;
}

static bool fits(const struct lock_key *key, const char *place, struct problem *p)
{
	if (key->path.document.len > 0 && !document_id_valid(key->path.document))
		return problem_set(p, STATUS_BAD_ID, place);
	if (key->path.field.len > LIMIT_PATH_BYTES)
		return too_long(place, LIMIT_PATH_BYTES, key->path.field.len, p);
	return !has_empty_part(key->path.field) || empty_part(place, p);
}

static void advisory(struct lock_key *key, struct slice text)
{
	*key = (struct lock_key){.name = text, .advisory = true};
}

/* Up to the separator; *rest is what follows it, empty if there is none. */
static struct slice cut(struct slice text, uint8_t separator, struct slice *rest)
{
	size_t at = 0;
	while (at < text.len && text.data[at] != separator)
		at++;
	size_t used = at < text.len ? at + 1 : at;
	*rest = slice_of(text.data + used, text.len - used);
	return slice_of(text.data, at);
}

static bool decode(struct request *r, struct slice text, const char *place, struct slice *out,
		   struct problem *p)
{
	return url_decode(text, false, &r->arena, out) ||
	       problem_detail(p, STATUS_BAD_PARAMETER, place,
			      "A % needs two hexadecimal digits behind it.");
}

static bool parse_slashes(struct request *r, struct slice text, const char *place,
			  struct lock_key *key, struct problem *p)
{
	struct slice rest;
	struct slice first = cut(text, '/', &rest);
	struct slice more;
	if (!url_decode(first, false, &r->arena, &key->name) ||
	    !collection_name_makeable(key->name)) {
		advisory(key, text);
		return true;
	}
	if (rest.len == 0)
		return true;
	struct slice document = cut(rest, '/', &more);
	struct slice field = cut(more, '/', &rest);
	if (document.len == 0 || rest.len > 0)
		return problem_detail(
		    p, STATUS_BAD_PARAMETER, place,
		    "A lock is collection, collection/document or collection/document/field.");
	return decode(r, document, place, &key->path.document, p) &&
	       decode(r, field, place, &key->path.field, p) && fits(key, place, p);
}

bool lock_key_parse(struct request *r, struct slice text, const char *place,
		    struct lock_parsed *out, struct problem *p)
{
	*out = (struct lock_parsed){0};
	if (text.len == 0)
		return problem_detail(p, STATUS_BAD_PARAMETER, place, "A lock has a name.");
	if (text.len > LIMIT_ID_BYTES + LIMIT_NAME_BYTES + LIMIT_PATH_BYTES)
		return too_long(place, LIMIT_ID_BYTES + LIMIT_NAME_BYTES + LIMIT_PATH_BYTES,
				text.len, p);
	bool slashes = memchr(text.data, '/', text.len) != NULL;
	struct slice rest;
	struct slice first = cut(text, '.', &rest);
	bool system = text.len >= 7 && memcmp(text.data, "system.", 7) == 0;
	if (slashes) {
		if (!parse_slashes(r, text, place, &out->key, p))
			return false;
	} else if (first.len < text.len && collection_name_makeable(first) && !system) {
		out->key.name = text;
		out->dotted = true;
		return true;
	} else if (collection_name_makeable(text)) {
		out->key.name = text;
	} else {
		advisory(&out->key, text);
	}
	if (out->key.advisory && out->key.name.len > LIMIT_ID_BYTES)
		return too_long(place, LIMIT_ID_BYTES, out->key.name.len, p);
	return true;
}

/* The longest beginning, up to a dot or the end, that names a collection; else what stands before
 * the first dot. */
static size_t name_length(const struct gateway *gw, struct slice text)
{
	size_t first = text.len;
	for (size_t at = text.len; at > 0; at--) {
		if (at < text.len && text.data[at] != '.')
			continue;
		if (at < text.len)
			first = at;
		if (cluster_map_collection(&gw->map, slice_of(text.data, at)))
			return at;
	}
	return first;
}

bool lock_key_resolve(const struct gateway *gw, const char *place, struct lock_parsed *out,
		      struct problem *p)
{
	struct slice text = out->key.name;
	if (!out->dotted)
		return true;
	size_t len = name_length(gw, text);
	size_t used = len < text.len ? len + 1 : len;
	struct slice rest = slice_of(text.data + used, text.len - used);
	if (len < text.len && (rest.len == 0 || has_empty_part(rest)))
		return empty_part(place, p);
	out->key.name = slice_of(text.data, len);
	out->key.path.document = cut(rest, '.', &out->key.path.field);
	out->dotted = false;
	return fits(&out->key, place, p);
}
