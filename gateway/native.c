#include "gateway/native.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/lock.h"
#include "gateway/url.h"

enum { KEY_BYTES_MAX = 255, EXPECTED_MAX = 16 };

static void json_problem(const struct json_error *error, const char *place, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%s%s", place, error->place);
	problem_set(p, error->status, text);
	snprintf(p->detail, sizeof p->detail, "At byte %zu.", error->offset);
}

bool native_json(struct turn *t, struct request *r, struct slice text, struct slice *value,
		 struct problem *p)
{
	struct json_error error = {0};
	struct buf *scratch = &t->gw->scratch;
	buf_clear(scratch);
	if (text.len == 0)
		return problem_set(p, STATUS_EMPTY_BODY, "");
	if (!json_to_msgpack(t->gw->json, text, scratch, &error)) {
		json_problem(&error, "", p);
		return false;
	}
	*value = arena_copy(&r->arena, buf_slice(scratch));
	return true;
}

bool native_body(struct turn *t, struct request *r, struct slice *value, struct problem *p)
{
	return native_json(t, r, r->http->body, value, p);
}

bool native_json_parameter(struct turn *t, struct request *r, const char *name, struct slice *value,
			   struct problem *p)
{
	struct json_error error = {0};
	struct buf *scratch = &t->gw->scratch;
	struct slice text;
	*value = slice_of(NULL, 0);
	if (!request_parameter(r, name, &text) || text.len == 0)
		return true;
	buf_clear(scratch);
	if (!json_to_msgpack(t->gw->json, text, scratch, &error)) {
		char place[PLACE_BYTES], text_detail[PLACE_BYTES];
		snprintf(place, sizeof place, "%s%s", name, error.place);
		snprintf(text_detail, sizeof text_detail,
			 "Its value must be JSON text%s; see byte %zu.",
			 error.status == STATUS_DUPLICATE_KEY ? " that names no member twice" : "",
			 error.offset);
		return problem_detail(p, STATUS_BAD_PARAMETER, place, text_detail);
	}
	*value = arena_copy(&r->arena, buf_slice(scratch));
	struct mp_reader reader = mp_reader_of(*value);
	if (mp_peek(&reader) == MP_NIL)
		*value = slice_of(NULL, 0);
	return true;
}

bool native_text_list(struct request *r, struct slice value, uint32_t max, uint32_t bytes_max,
		      struct text_list *out)
{
	*out = (struct text_list){0};
	if (value.len == 0)
		return true;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count > max)
		return false;
	out->texts = arena_alloc(&r->arena, (head.count + 1) * sizeof *out->texts);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token token = mp_read(&reader);
		if (token.type != MP_STR || token.bytes.len == 0 || token.bytes.len > bytes_max)
			return false;
		out->texts[out->count++] = token.bytes;
	}
	return true;
}

static bool is_among(struct slice name, const char *const *names)
{
	while (*names && !slice_is(name, *names))
		names++;
	return *names != NULL;
}

static bool refuse_name(const char *place, struct slice name, const char *const *names,
			struct problem *p)
{
	struct buf text = {0};
	char at[PLACE_BYTES];
	snprintf(at, sizeof at, "%s%.*s", place, (int)(name.len < 64 ? name.len : 64),
		 name.len > 0 ? (const char *)name.data : "");
	buf_append_text(&text, "Allowed: ");
	for (const char *const *known = names; *known; known++)
		buf_printf(&text, "%s%s", known == names ? "" : ", ", *known);
	buf_append_byte(&text, '.');
	problem_detail(p, STATUS_BAD_PARAMETER, at, buf_cstr(&text));
	buf_close(&text);
	return false;
}

bool native_members_at(const char *place, struct slice body, const char *const *names,
		       struct problem *p)
{
	char within[PLACE_BYTES];
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP)
		return problem_detail(p, STATUS_WRONG_TYPE, place, "A JSON object.");
	snprintf(within, sizeof within, "%s/", place);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		if (!is_among(name, names) || !mp_skip(&reader))
			return refuse_name(within, name, names, p);
	}
	return true;
}

bool native_parameters(const struct request *r, const char *const *names, struct problem *p)
{
	for (uint32_t i = 0; i < r->parameters_count; i++)
		if (!is_among(r->parameters[i].name, names))
			return refuse_name("", r->parameters[i].name, names, p);
	return true;
}

bool native_members(struct slice body, const char *const *names, struct problem *p)
{
	return native_members_at("", body, names, p);
}

struct slice native_without(struct turn *t, struct request *r, struct slice body, const char *name)
{
	if (value_member(body, slice_text(name)).len == 0)
		return body;
	buf_clear(&t->gw->scratch);
	value_without_member(body, slice_text(name), &t->gw->scratch);
	return arena_copy(&r->arena, buf_slice(&t->gw->scratch));
}

/* Takes the document's own id, if it has one. */
static bool take_own_id(struct slice value, const char *place, struct slice *id, struct problem *p)
{
	char where[PLACE_BYTES];
	struct slice member = value_member(value, slice_text("id"));
	*id = slice_of(NULL, 0);
	if (member.len == 0)
		return true;
	snprintf(where, sizeof where, "%s/id", place);
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return problem_detail(p, STATUS_WRONG_TYPE, where, "An id is a string.");
	if (!document_id_valid(token.bytes))
		return problem_set(p, STATUS_BAD_ID, where);
	*id = token.bytes;
	return true;
}

bool native_document(struct turn *t, struct request *r, struct slice value, const char *place,
		     struct native_document *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	uint32_t bytes_max = t->gw->options.limits.document_bytes_max;
	if (mp_peek(&reader) != MP_MAP)
		return problem_detail(p, STATUS_WRONG_TYPE, place, "A document is a JSON object.");
	if (!take_own_id(value, place, &out->id, p))
		return false;
	out->body = value;
	if (out->id.len > 0) {
		buf_clear(&t->gw->scratch);
		value_without_member(value, slice_text("id"), &t->gw->scratch);
		out->body = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	}
	if (out->body.len > bytes_max) {
		problem_limit(p, STATUS_BODY_TOO_LARGE, "max_document_bytes", bytes_max,
			      out->body.len);
		if (*place)
			snprintf(p->place, sizeof p->place, "%s", place);
		return false;
	}
	return true;
}

static struct slice trimmed(struct slice s)
{
	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
		s = slice_of(s.data + 1, s.len - 1);
	while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* The next entity tag of a comma-separated list, without W/ and quotes; false at the end. */
static bool next_tag(struct slice *rest, struct slice *tag)
{
	while (rest->len > 0) {
		size_t end = 0;
		while (end < rest->len && rest->data[end] != ',')
			end++;
		*tag = trimmed(slice_of(rest->data, end));
		size_t used = end < rest->len ? end + 1 : end;
		*rest = slice_of(rest->data + used, rest->len - used);
		if (tag->len == 0)
			continue;
		if (tag->len > 2 && tag->data[0] == 'W' && tag->data[1] == '/')
			*tag = slice_of(tag->data + 2, tag->len - 2);
		if (tag->len >= 2 && tag->data[0] == '"' && tag->data[tag->len - 1] == '"')
			*tag = slice_of(tag->data + 1, tag->len - 2);
		return true;
	}
	return false;
}

bool native_etag_matches(struct slice header, const struct revision *revision)
{
	struct slice tag;
	struct revision named;
	while (next_tag(&header, &tag))
		if (slice_is(tag, "*") ||
		    (revision_parse(tag, &named) && revision_equal(&named, revision)))
			return true;
	return false;
}

static bool take_if_match(struct request *r, struct slice header, struct msg_doc_write *write,
			  struct problem *p)
{
	struct slice rest = arena_copy(&r->arena, header);
	struct slice tag;
	if (slice_is(trimmed(rest), "*")) {
		write->expect = EXPECT_PRESENT;
		return true;
	}
	write->expect = EXPECT_REVISION;
	write->expected = arena_alloc(&r->arena, EXPECTED_MAX * sizeof *write->expected);
	while (next_tag(&rest, &tag)) {
		if (write->expected_count == EXPECTED_MAX)
			return problem_limit(p, STATUS_BAD_PARAMETER, "If-Match", EXPECTED_MAX,
					     EXPECTED_MAX + 1);
		if (!revision_parse(tag, &write->expected[write->expected_count++]))
			return problem_set(p, STATUS_BAD_REVISION, "If-Match");
	}
	if (write->expected_count == 0)
		return problem_set(p, STATUS_BAD_REVISION, "If-Match");
	revision_sort(write->expected, write->expected_count);
	return true;
}

bool native_preconditions(struct request *r, struct msg_doc_write *write, struct problem *p)
{
	struct slice match = request_header(r, "if-match");
	struct slice none = request_header(r, "if-none-match");
	struct slice mode;
	bool post = write->op == WRITE_POST;
	if (request_parameter(r, "mode", &mode) && mode.len > 0 && !slice_is(mode, "consistent"))
		return problem_detail(p, STATUS_BAD_PARAMETER, "mode", "consistent, or left out.");
	if (post && (match.len > 0 || request_flag(r, "branch")))
		return problem_detail(p, STATUS_BAD_PARAMETER, match.len ? "If-Match" : "branch",
				      "POST creates documents; use PUT to replace one.");
	if (match.len > 0 && none.len > 0)
		return problem_detail(p, STATUS_BAD_PARAMETER, "If-None-Match",
				      "If-Match and If-None-Match exclude each other.");
	if (none.len > 0 && !slice_is(trimmed(none), "*"))
		return problem_detail(p, STATUS_BAD_PARAMETER, "If-None-Match",
				      "Writes take only If-None-Match: *.");
	if (none.len > 0 && write->op != WRITE_PUT && !post)
		return problem_detail(p, STATUS_BAD_PARAMETER, "If-None-Match",
				      "Only a creation can ask for absence.");
	if (none.len > 0 || post)
		write->expect = EXPECT_ABSENT;
	if (match.len > 0 && !take_if_match(r, match, write, p))
		return false;
	write->keep_as_branch = request_flag(r, "branch");
	if (write->keep_as_branch && write->expect != EXPECT_REVISION)
		return problem_detail(p, STATUS_BAD_PARAMETER, "branch",
				      "Name the revision that was edited in If-Match.");
	return true;
}

bool native_consistency(const struct request *r, bool *any, struct problem *p)
{
	struct slice value;
	*any = false;
	if (!request_parameter(r, "consistency", &value) || value.len == 0 ||
	    slice_is(value, "strong"))
		return true;
	*any = slice_is(value, "any");
	return *any || problem_detail(p, STATUS_BAD_PARAMETER, "consistency", "strong or any.");
}

/* Length before bytes: no two lists of parts read the same. */
static void digest_part(struct buf *out, struct slice part)
{
	buf_append_be32(out, (uint32_t)part.len);
	buf_append_slice(out, part);
}

static struct slice rev_parameter(const struct request *r)
{
	struct slice text;
	return request_parameter(r, "rev", &text) ? text : slice_of(NULL, 0);
}

static struct slice digest_of(struct request *r, const struct buf *bytes)
{
	uint8_t *out = arena_alloc(&r->arena, 16);
	digest16(buf_slice(bytes), out);
	return slice_of(out, 16);
}

/* Of a write by query. */
static struct slice query_parameter(const struct request *r)
{
	struct slice text;
	return request_parameter(r, "query", &text) ? text : slice_of(NULL, 0);
}

static bool is_sent_empty(const struct request *r, const char *name)
{
	for (uint32_t i = 0; i < r->http->headers_count; i++)
		if (slice_is(r->http->headers[i].name, name))
			return trimmed(r->http->headers[i].value).len == 0;
	return false;
}

bool native_guards(const struct request *r, struct problem *p)
{
	static const struct {
		const char *name, *place;
	} guards[] = {{"if-match", "If-Match"},
		      {"if-none-match", "If-None-Match"},
		      {"idempotency-key", "Idempotency-Key"}};
	bool native = r->dialect == DIALECT_NATIVE; /* CouchDB's clients may send them so */
	for (size_t i = 0; i < ARRAY_LEN(guards) && native; i++)
		if (is_sent_empty(r, guards[i].name))
			return problem_detail(p, STATUS_BAD_PARAMETER, guards[i].place,
					      "Give it a value, or leave the header out.");
	return true;
}

static bool operation_of(struct turn *t, struct request *r, struct slice body,
			 struct native_operation *out, struct problem *p)
{
	struct slice key = trimmed(request_header(r, "idempotency-key"));
	*out = (struct native_operation){0};
	if (!native_guards(r, p) || !lock_take_headers(t, r, p))
		return false;
	if (key.len == 0)
		return true;
	if (key.len > KEY_BYTES_MAX)
		return problem_limit(p, STATUS_BAD_PARAMETER, "Idempotency-Key", KEY_BYTES_MAX,
				     key.len);
	for (size_t i = 0; i < key.len; i++)
		if (key.data[i] < 0x20 || key.data[i] > 0x7e)
			return problem_detail(p, STATUS_BAD_PARAMETER, "Idempotency-Key",
					      "Printable ASCII only.");
	struct buf *all = &t->gw->scratch;
	buf_clear(all);
	buf_append_be32(all, r->method);
	digest_part(all, r->collection);
	digest_part(all, r->resource);
	digest_part(all, request_header(r, "if-match"));
	digest_part(all, request_header(r, "if-none-match"));
	buf_append_byte(all, request_flag(r, "branch"));
	if (r->method == HTTP_PATCH || r->part.len > 0)
		digest_part(all, request_header(r, "content-type"));
	digest_part(all, query_parameter(r));
	digest_part(all, body);
	if (r->part.len > 0)
		digest_part(all, r->part);
	/* CouchDB's clients name so what others name in If-Match */
	bool names_rev = r->dialect == DIALECT_COUCH && rev_parameter(r).len > 0;
	if (r->part.len > 0 || names_rev)
		digest_part(all, rev_parameter(r));
	if (r->method == HTTP_COPY)
		digest_part(all, request_header(r, "destination"));
	out->key = arena_copy(&r->arena, key);
	out->digest = digest_of(r, all);
	return true;
}

bool native_operation(struct turn *t, struct request *r, struct native_operation *out,
		      struct problem *p)
{
	return operation_of(t, r, r->http->body, out, p);
}

bool native_operation_pieces(struct turn *t, struct request *r, struct native_operation *out,
			     struct problem *p)
{
	return operation_of(t, r, slice_of(NULL, 0), out, p);
}

void native_operation_add(struct turn *t, struct request *r, struct slice bytes,
			  struct msg_doc_write *write)
{
	struct buf *all = &t->gw->scratch;
	if (write->operation_digest.len == 0)
		return;
	buf_clear(all);
	digest_part(all, write->operation_digest);
	digest_part(all, bytes);
	write->operation_digest = digest_of(r, all);
}

void native_operation_fill(struct turn *t, struct request *r,
			   const struct native_operation *operation, uint32_t index,
			   struct msg_doc_write *write)
{
	write->lock_ids = r->lock_ids;
	write->lock_ids_count = r->lock_ids_count;
	if (operation->key.len == 0) {
		uint8_t *random = arena_alloc(&r->arena, 16);
		rng_fill(&t->gw->rng, random, 16);
		write->operation_id = slice_of(random, 16);
		return;
	}
	struct buf *all = &t->gw->scratch;
	buf_clear(all);
	digest_part(all, r->collection);
	digest_part(all, operation->key);
	if (index > 0)
		buf_append_be32(all, index);
	write->operation_id = digest_of(r, all);
	write->operation_digest = operation->digest;
	write->attempt = rng_next(&t->gw->rng);
}

struct slice native_new_id(struct turn *t, struct request *r, const struct msg_doc_write *write)
{
	uint8_t raw[16];
	struct buf *text = &t->gw->scratch;
	buf_clear(text);
	buf_append_text(text, "id");
	buf_append_slice(text, write->operation_id);
	digest16(buf_slice(text), raw);
	raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
	raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
	buf_clear(text);
	for (size_t i = 0; i < sizeof raw; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf_append_byte(text, '-');
		buf_append_hex(text, raw + i, 1);
	}
	return arena_copy(&r->arena, buf_slice(text));
}
