/* Documents in CouchDB's form. What is `_id` there is `id` here, and members of the body may have
 * other names than they are stored under (couch_name.h). */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/couch_name.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/conflicts.h"
#include "gateway/url.h"

/* What CouchDB's clients send back as they got it. */
static const char *const sent_back[] = {"_revisions", "_conflicts", "_deleted_conflicts",
					"_revs_info", "_local_seq", "_replication_start_time"};

static bool is_sent_back(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(sent_back); i++)
		if (slice_is(name, sent_back[i]))
			return true;
	return false;
}

/* ---- printing ---- */

/* No member of the body may need another name, or must be left out. */
static bool body_is_plain(struct slice body)
{
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		uint8_t first = name.bytes.len > 0 ? name.bytes.data[0] : 0;
		if (name.type != MP_STR || first == '_' || first == '~' || !mp_skip(&reader))
			return false;
	}
	return head.type == MP_MAP;
}

static bool print_members(struct slice body, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	struct buf scratch = {0};
	bool fine = true;
	for (uint32_t i = 0; fine && head.type == MP_MAP && i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		fine = name.type == MP_STR && value.len > 0;
		if (!fine || slice_is(name.bytes, ATTACHMENTS_MEMBER))
			continue;
		buf_append_byte(out, ',');
		json_string(couch_name_shown(name.bytes, &scratch), out);
		buf_append_byte(out, ':');
		fine = json_from_msgpack(value, out);
	}
	buf_close(&scratch);
	return fine;
}

bool couch_members_print(struct slice body, struct buf *out)
{
	size_t at = out->len;
	if (body.len == 0)
		return true;
	if (!body_is_plain(body))
		return print_members(body, out);
	if (!json_from_msgpack(body, out))
		return false;
	/* {"a":1} becomes ,"a":1 */
	out->len--;
	if (out->len == at + 1)
		out->len = at;
	else
		out->data[at] = ',';
	return true;
}

static void print_revisions(const struct couch_document *d, struct buf *out)
{
	uint64_t generation = d->revision.generation;
	buf_printf(out, ",\"_revisions\":{\"start\":%" PRIu64 ",\"ids\":[", generation);
	json_string(d->revision.hash, out);
	for (uint32_t i = 0; i < d->ancestors_count; i++) {
		buf_append_byte(out, ',');
		json_string(d->ancestors[i].hash, out);
	}
	buf_append_text(out, "]}");
}

static const char *kept_of(uint64_t flags)
{
	if (flags & REVISION_DELETED)
		return "deleted";
	return flags & REVISION_HAS_BODY ? "available" : "missing";
}

static void print_revs_info(const struct couch_document *d, struct buf *out)
{
	buf_append_text(out, ",\"_revs_info\":[{\"rev\":");
	json_revision(&d->revision, out);
	buf_printf(out, ",\"status\":\"%s\"}", d->deleted ? "deleted" : "available");
	for (uint32_t i = 0; i < d->ancestors_count; i++) {
		buf_append_text(out, ",{\"rev\":");
		json_revision(&d->ancestors[i], out);
		buf_printf(out, ",\"status\":\"%s\"}",
			   kept_of(d->ancestor_flags ? d->ancestor_flags[i] : 0));
	}
	buf_append_byte(out, ']');
}

bool couch_document_print(const struct couch_document *d, struct buf *out)
{
	buf_append_text(out, "{\"_id\":");
	json_string(d->id, out);
	if (d->revision.generation > 0) {
		buf_append_text(out, ",\"_rev\":");
		json_revision(&d->revision, out);
	}
	if (d->deleted)
		buf_append_text(out, ",\"_deleted\":true");
	if (!couch_members_print(d->body, out))
		return false;
	couch_attachments_print(d, out);
	if (d->revs)
		print_revisions(d, out);
	if (d->revs_info)
		print_revs_info(d, out);
	if (d->local_seq > 0)
		buf_printf(out, ",\"_local_seq\":%" PRIu64, d->local_seq);
	couch_conflicts_print(d, out);
	couch_revisions_print(",\"_deleted_conflicts\":[", d->deleted_conflicts,
			      d->deleted_conflicts_count, out);
	buf_append_byte(out, '}');
	return true;
}

/* ---- taking apart ---- */

bool couch_is_shown(struct slice id)
{
	return id.len == 0 || id.data[0] != '_' ||
	       (id.len > 8 && memcmp(id.data, "_design/", 8) == 0);
}

bool couch_id_check(struct slice id, struct problem *p)
{
	bool own = id.len > 0 && id.data[0] == '_';
	if (id.len == 0)
		return couch_problem(p, COUCH_ID_EMPTY, "");
	bool design = id.len > 8 && memcmp(id.data, "_design/", 8) == 0;
	bool local = id.len > 7 && memcmp(id.data, "_local/", 7) == 0;
	if (own && !design && !local)
		return couch_problem(p, COUCH_RESERVED_ID, "");
	return document_id_valid(id) || couch_problem(p, COUCH_BAD_ID, "");
}

bool couch_revision(struct request *r, struct slice text, struct revision *out, struct problem *p)
{
	/* as an entity tag, too */
	if (text.len >= 2 && text.data[0] == '"' && text.data[text.len - 1] == '"')
		text = slice_of(text.data + 1, text.len - 2);
	return revision_parse(arena_copy(&r->arena, text), out) ||
	       couch_problem(p, COUCH_BAD_REV, "");
}

static bool bad_member(struct slice name, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "Bad special document member: %.*s",
		 (int)(name.len < 120 ? name.len : 120), (const char *)name.data);
	return couch_problem(p, COUCH_BAD_MEMBER, text);
}

/* A member that begins with an underscore. */
static bool take_special(struct request *r, struct slice name, struct slice value,
			 struct couch_document *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (slice_is(name, "_id")) {
		if (token.type != MP_STR)
			return couch_problem(p, COUCH_ID_NOT_STRING, "");
		out->id = token.bytes;
		return out->id.len > 0 || couch_problem(p, COUCH_ID_EMPTY, "");
	}
	if (slice_is(name, "_rev")) {
		if (token.type != MP_STR)
			return couch_problem(p, COUCH_BAD_REV, "");
		return couch_revision(r, token.bytes, &out->revision, p);
	}
	if (slice_is(name, "_deleted")) {
		out->deleted = token.type == MP_BOOL && token.flag;
		return token.type == MP_BOOL || bad_member(name, p);
	}
	if (slice_is(name, "_revisions"))
		out->revisions = value;
	if (slice_is(name, "_attachments")) {
		out->attachments = value;
		return token.type == MP_MAP || bad_member(name, p);
	}
	return is_sent_back(name) || bad_member(name, p);
}

static bool is_special(struct slice name)
{
	return name.len > 0 && name.data[0] == '_' && !couch_name_is_of_job(name);
}

/* The body without the special members, the others under the names that are stored. */
static struct slice plain_body(struct turn *t, struct request *r, struct slice value, uint32_t kept)
{
	struct buf *out = &t->gw->scratch;
	struct mp_reader reader = mp_reader_of(value);
	uint32_t count = mp_read(&reader).count;
	buf_clear(out);
	mp_write_map(out, kept);
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice member = mp_value(&reader);
		if (is_special(name.bytes))
			continue;
		mp_write_str(out, couch_name_stored(name.bytes));
		buf_append_slice(out, member);
	}
	return arena_copy(&r->arena, buf_slice(out));
}

bool couch_document_parse(struct turn *t, struct request *r, struct slice value,
			  struct couch_document *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	uint32_t kept = 0;
	bool named = false;
	*out = (struct couch_document){.body = value};
	if (head.type != MP_MAP)
		return couch_problem(p, COUCH_NOT_OBJECT, "");
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice member = mp_value(&reader);
		if (!is_special(name.bytes)) {
			named |= couch_name_stored(name.bytes).data != name.bytes.data;
			kept++;
		} else if (!take_special(r, name.bytes, member, out, p)) {
			return false;
		}
	}
	/* last: who refuses it by itself knows the rest */
	if (out->id.len > 0 && !couch_id_check(out->id, p))
		return false;
	if (kept < head.count || named)
		out->body = plain_body(t, r, value, kept);
	uint32_t bytes_max = t->gw->options.limits.document_bytes_max;
	return out->body.len <= bytes_max ||
	       problem_limit(p, STATUS_BODY_TOO_LARGE, "max_document_bytes", bytes_max,
			     out->body.len);
}
