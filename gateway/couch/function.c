#include "gateway/couch/function.h"

#include <stdio.h>

#include "common/doc/script_answer.h"
#include "common/doc/script_document.h"
#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/view.h"
#include "gateway/routes.h"
#include "gateway/url.h"

enum { UUID_BYTES = 16 };

/* ---- req ---- */

static void write_pair(struct buf *out, const char *name, struct slice text)
{
	mp_write_text(out, name);
	mp_write_str(out, utf8_is_valid(text) ? text : slice_of(NULL, 0));
}

static bool is_credential(struct slice name)
{
	return slice_is(name, "authorization") || slice_is(name, "cookie") ||
	       slice_is(name, "proxy-authorization");
}

/* Of those of one name the first. */
static bool is_first(const struct http_field *fields, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++)
		if (slice_equal(fields[i].name, fields[index].name))
			return false;
	return utf8_is_valid(fields[index].name) && utf8_is_valid(fields[index].value);
}

static void write_fields(struct buf *out, const char *name, const struct http_field *fields,
			 uint32_t count)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++)
		kept += is_first(fields, i) && !is_credential(fields[i].name);
	mp_write_text(out, name);
	mp_write_map(out, kept);
	for (uint32_t i = 0; i < count; i++) {
		if (!is_first(fields, i) || is_credential(fields[i].name))
			continue;
		mp_write_str(out, fields[i].name);
		mp_write_str(out, fields[i].value);
	}
}

static void write_path(struct request *r, struct buf *out)
{
	struct slice segments[URL_SEGMENTS_MAX];
	int count = url_segments(r->http->path, segments);
	mp_write_array(out, count > 0 ? (uint32_t)count : 0);
	for (int i = 0; i < count; i++) {
		struct slice text;
		bool fine = url_decode(arena_copy(&r->arena, segments[i]), false, &r->arena, &text);
		mp_write_str(out, fine && utf8_is_valid(text) ? text : slice_of(NULL, 0));
	}
}

/* A form's fields, as those of a query string. */
static void write_form(struct request *r, struct buf *out)
{
	static const char type[] = "application/x-www-form-urlencoded";
	struct slice given = request_header(r, "content-type");
	struct slice rest = arena_copy(&r->arena, r->http->body);
	struct http_field fields[PARAMETERS_MAX];
	struct http_field pair;
	uint32_t count = 0;
	bool is_form =
	    given.len >= sizeof type - 1 && memcmp(given.data, type, sizeof type - 1) == 0;
	while (is_form && count < PARAMETERS_MAX && url_parameter_next(&rest, &pair)) {
		struct http_field *to = &fields[count];
		if (url_decode(pair.name, true, &r->arena, &to->name) &&
		    url_decode(pair.value, true, &r->arena, &to->value))
			count++;
	}
	write_fields(out, "form", fields, count);
}

void function_request_take(struct turn *t, struct request *r, bool with_body,
			   struct function_request *out)
{
	struct buf pairs = {0};
	struct buf *raw = &t->gw->scratch;
	buf_clear(raw);
	buf_append_slice(raw, r->http->path);
	if (r->http->query.len > 0)
		buf_append_byte(raw, '?');
	buf_append_slice(raw, r->http->query);
	write_pair(&pairs, "method", slice_text(http_method_name(r->method)));
	write_pair(&pairs, "raw_path", buf_slice(raw));
	mp_write_text(&pairs, "path");
	write_path(r, &pairs);
	mp_write_text(&pairs, "requested_path");
	write_path(r, &pairs);
	write_fields(&pairs, "query", r->parameters, r->parameters_count);
	write_fields(&pairs, "headers", r->http->headers, r->http->headers_count);
	mp_write_text(&pairs, "cookie");
	mp_write_map(&pairs, 0);
	write_pair(&pairs, "body",
		   with_body && r->http->body.len > 0 ? r->http->body : slice_text("undefined"));
	if (with_body)
		write_form(r, &pairs);
	else
		write_fields(&pairs, "form", NULL, 0);
	*out = (struct function_request){.pairs = arena_copy(&r->arena, buf_slice(&pairs)),
					 .count = 9};
	buf_close(&pairs);
}

void function_user_write(const struct request *r, struct buf *out)
{
	const struct couch_user *user = r->couch.user;
	struct buf name = {0};
	mp_write_map(out, 3);
	write_pair(out, "db",
		   couch_database_name(r->collection, &name) ? buf_slice(&name)
							     : slice_of(NULL, 0));
	buf_close(&name);
	mp_write_text(out, "name");
	if (user && user->name.len > 0 && utf8_is_valid(user->name))
		mp_write_str(out, user->name);
	else
		mp_write_nil(out);
	mp_write_text(out, "roles");
	if (!user) { /* made inside, by whoever may do everything */
		mp_write_array(out, 1);
		mp_write_text(out, "_admin");
		return;
	}
	mp_write_array(out, user->roles_count);
	for (uint32_t i = 0; i < user->roles_count; i++)
		mp_write_str(out, user->roles[i]);
}

static void write_group(struct buf *out, const char *name)
{
	mp_write_text(out, name);
	mp_write_map(out, 1);
	mp_write_text(out, "roles");
	mp_write_array(out, 1);
	mp_write_text(out, "_admin");
}

void function_security_write(struct slice security, struct buf *out)
{
	if (security.len > 0) {
		buf_append_slice(out, security);
		return;
	}
	mp_write_map(out, 2);
	write_group(out, "members");
	write_group(out, "admins");
}

void function_request_write(struct turn *t, struct request *r, const struct function_request *from,
			    struct slice id, struct slice security, struct buf *out)
{
	uint8_t random[UUID_BYTES];
	rng_fill(&t->gw->rng, random, sizeof random);
	buf_clear(&t->gw->scratch);
	buf_append_hex(&t->gw->scratch, random, sizeof random);
	mp_write_map(out, from->count + 4);
	buf_append_slice(out, from->pairs);
	write_pair(out, "uuid", buf_slice(&t->gw->scratch));
	mp_write_text(out, "id");
	if (id.len > 0)
		mp_write_str(out, id);
	else
		mp_write_nil(out);
	mp_write_text(out, "userCtx");
	function_user_write(r, out);
	mp_write_text(out, "secObj");
	function_security_write(security, out);
}

/* ---- design documents ---- */

static void have_design(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct function_design *design = r->op;
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!couch_document_found(t, r, status, ack, false))
		return;
	struct buf whole = {0};
	struct script_document d = {.id = design->id, .revision = ack->revision, .body = ack->body};
	script_document_write(&d, &whole);
	design->body = arena_copy(&r->arena, buf_slice(&whole));
	buf_close(&whole);
	r->op = design->op;
	design->next(t, r);
}

static void have_security(struct turn *t, struct request *r, const struct couch_known *known)
{
	struct function_design *design = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (known->there)
		design->security = arena_copy(&r->arena, known->body);
	if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (!couch_read_send(t, r, c, &design->read, have_design))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void function_load(struct turn *t, struct request *r, const struct map_collection *c,
		   struct function_design *design, request_step *next)
{
	design->read.id = design->id;
	design->next = next;
	design->op = r->op;
	r->op = design;
	couch_known_want(t, r, slice_text(COLLECTION_LOCAL), couch_security_id(r, c),
			 have_security);
}

static bool missing_key(struct slice name, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "missing json key: %.*s",
		 (int)(name.len < 120 ? name.len : 120), name.len ? (const char *)name.data : "");
	return couch_problem(p, COUCH_MISSING, text);
}

bool function_find(struct slice design, const char *group, struct slice name, struct slice *source,
		   struct problem *p)
{
	struct slice all = value_member(design, slice_text(group));
	struct slice value = value_member(all, name);
	if (all.len == 0)
		return missing_key(slice_text(group), p);
	if (value.len == 0)
		return missing_key(name, p);
	if (design_is_foreign(design))
		return couch_problem(p, COUCH_UNKNOWN_LANGUAGE, "");
	struct slice map = value_member(value, slice_text("map")); /* of a view */
	struct mp_reader reader = mp_reader_of(map.len > 0 ? map : value);
	struct mp_token text = mp_read(&reader);
	*source = text.bytes;
	if (text.type != MP_STR || text.bytes.len > LIMIT_POLICY_BYTES)
		return couch_problem(p, COUCH_COMPILATION,
				     "A function is a text of at most 64 KiB.");
	return true;
}

bool function_find_named(const struct function_design *design, const char *group, struct slice name,
			 struct slice *source, struct problem *p)
{
	char text[PLACE_BYTES];
	struct slice id = design->id;
	if (function_find(design->body, group, name, source, p))
		return true;
	if (p->couch != COUCH_MISSING)
		return false;
	snprintf(text, sizeof text, "missing %s function %.*s on design doc %.*s", group,
		 (int)(name.len < 60 ? name.len : 60), (const char *)name.data,
		 (int)(id.len < 60 ? id.len : 60), (const char *)id.data);
	return couch_problem(p, COUCH_MISSING, text);
}

/* ---- what came of a run ---- */

bool function_exhausted(enum script_status status)
{
	return status == SCRIPT_TIME || status == SCRIPT_MEMORY || status == SCRIPT_CRASHED ||
	       status == SCRIPT_TOO_LARGE;
}

bool function_returned(const struct script_end *end, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(end->output);
	struct mp_token token = mp_read(&reader);
	char text[PLACE_BYTES];
	enum couch_error error = COUCH_FUNCTION_THREW;
	struct slice why = script_text(end->output);
	if (end->status == SCRIPT_OK && token.type != MP_STR)
		return true;
	if (end->status == SCRIPT_BUSY || end->status == SCRIPT_UNAVAILABLE)
		return problem_set(p, STATUS_OVERLOADED, "");
	if (end->status == SCRIPT_OK) {
		error = COUCH_COMPILATION;
		why = script_text(token.bytes);
	} else if (function_exhausted(end->status)) {
		error = COUCH_FUNCTION_STOPPED;
	}
	snprintf(text, sizeof text, "%.*s", (int)(why.len < 160 ? why.len : 160),
		 why.len ? (const char *)why.data : "");
	return couch_problem(p, error, text);
}
