/* system.policies: the policy of each collection as a document. Its version is that of the
 * collection's settings, since that is what resolutions are made under. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/policy.h"
#include "gateway/policy_script.h"
#include "gateway/routes.h"

enum { TRIES_MAX = 5 };

struct policies_op {
	struct list_params params; /* GET */
	struct slice match;        /* If-Match, or If-None-Match of a GET */
	struct slice given;        /* PUT: the policy; PATCH: what to change */
	struct msg_collection_create message;
	uint64_t map_version; /* that shows the change; 0 while the coordinator has not said */
	uint32_t tries;
};

/* ---- rows ---- */

static struct slice row_body(struct turn *t, struct request *r, const struct collection *s)
{
	static const uint8_t empty_map[] = {0x80};
	struct slice policy = s->policy.len > 0 ? s->policy : slice_of(empty_map, 1);
	bool told = value_member(policy, slice_text("strategy")).len > 0;
	struct mp_reader reader = mp_reader_of(policy);
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	mp_write_map(out, mp_read(&reader).count + 1 + !told);
	mp_write_text(out, "version");
	mp_write_u64(out, s->version);
	if (!told) {
		mp_write_text(out, "strategy");
		mp_write_text(out, "merge");
	}
	buf_append(out, reader.at, (size_t)(reader.end - reader.at));
	return arena_copy(&r->arena, buf_slice(out));
}

static bool is_shown(const struct cluster_map *map, const struct map_collection *c)
{
	return cluster_map_collection(map, c->settings.name) == c && !map_collection_hidden(c);
}

static void answer_all(struct turn *t, struct request *r)
{
	const struct policies_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	struct system_row *rows =
	    arena_alloc(&r->arena, (map->collections_by_id.count + 1) * sizeof *rows);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		if (!is_shown(map, c))
			continue;
		rows[count].id = arena_copy(&r->arena, c->settings.name);
		rows[count++].body = row_body(t, r, &c->settings);
	}
	system_rows_answer(t, r, rows, count, false, &op->params);
}

/* ---- entity tags ---- */

/* Does the list of tags name this version? */
static bool names_version(struct slice header, uint64_t version)
{
	char tag[24];
	size_t len = (size_t)snprintf(tag, sizeof tag, "\"%" PRIu64 "\"", version);
	for (size_t i = 0; i < header.len; i++)
		if (header.data[i] == '*' ||
		    (header.len - i >= len && memcmp(header.data + i, tag, len) == 0))
			return true;
	return false;
}

static struct slice header_kept(struct request *r, const char *name)
{
	return arena_copy(&r->arena, request_header(r, name));
}

static void answer_one(struct turn *t, struct request *r, const struct map_collection *c)
{
	const struct policies_op *op = r->op;
	bool read = r->method == HTTP_GET || r->method == HTTP_HEAD;
	bool known = read && names_version(op->match, c->settings.version);
	struct reply *reply = reply_begin(t, known ? 304 : 200);
	char tag[24];
	int len = snprintf(tag, sizeof tag, "\"%" PRIu64 "\"", c->settings.version);
	struct slice body = row_body(t, r, &c->settings);
	reply_header(r, reply, "ETag", slice_of(tag, (size_t)len));
	if (known || json_document(r->resource, body, &reply->body))
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

/* ---- changing ---- */

static void refuse_version(struct turn *t, struct request *r, uint64_t version)
{
	struct problem problem;
	char text[64];
	snprintf(text, sizeof text, "Version %" PRIu64 " is current.", version);
	problem_detail(&problem, STATUS_CONFLICT, "If-Match", text);
	answer_problem(t, r, &problem);
}

static void change_look(struct turn *t, struct request *r)
{
	const struct policies_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->resource);
	if (op->map_version > 0 && c && t->gw->map.version >= op->map_version)
		answer_one(t, r, c);
}

static call_done change_map;

static void changed(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	struct policies_op *op = r->op;
	(void)index;
	if (body && status == STATUS_CONFLICT && op->tries < TRIES_MAX) {
		map_refresh(t, r, change_map); /* that tells whether the client is too late */
		return;
	}
	if (!body || !status_is_success(status)) {
		answer_status(t, r, status, "");
		return;
	}
	op->map_version = ((const struct msg_collection_create_ack *)body)->map_version;
	request_wait(t, r, change_look);
	change_look(t, r);
}

static bool make_policy(struct turn *t, struct request *r, const struct collection *s,
			struct problem *p)
{
	struct policies_op *op = r->op;
	struct slice *policy = &op->message.collection.policy;
	*policy = op->given;
	if (r->method == HTTP_PATCH) {
		buf_clear(&t->gw->scratch);
		value_merge_patch(s->policy, op->given, &t->gw->scratch);
		*policy = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	}
	return policy_check(r, *policy, "", p);
}

static void change_send(struct turn *t, struct request *r)
{
	struct policies_op *op = r->op;
	collection_change(t, r, &op->message, changed);
}

static void change(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct policies_op *op = r->op;
	const struct collection *s = &c->settings;
	struct problem problem;
	if (op->match.len > 0 && !names_version(op->match, s->version)) {
		refuse_version(t, r, s->version);
		return;
	}
	if (!make_policy(t, r, s, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->tries++;
	op->message.update = true;
	op->message.policy_only = true;
	op->message.collection.name = r->resource;
	op->message.collection.id = s->id;
	op->message.if_version = op->match.len > 0 || r->method == HTTP_PATCH ? s->version : 0;
	policy_check_script(t, r, op->message.collection.policy, "", change_send);
}

static void change_map(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->resource);
	(void)index;
	if (!body)
		answer_status(
		    t, r, status_is_success(status) ? STATUS_COORDINATOR_UNAVAILABLE : status, "");
	else if (!c)
		answer_no_collection(t, r, "path");
	else
		change(t, r, c);
}

/* Without the members that only say which policy it is. */
static bool take_given(struct turn *t, struct request *r, struct slice value, struct problem *p)
{
	struct policies_op *op = r->op;
	struct buf *scratch = &t->gw->scratch;
	struct mp_reader reader = mp_reader_of(value);
	if (mp_peek(&reader) != MP_MAP)
		return problem_detail(p, STATUS_WRONG_TYPE, "", "A policy is a JSON object.");
	struct mp_reader own = mp_reader_of(value_member(value, slice_text("id")));
	struct mp_token id = mp_read(&own);
	if (id.type != MP_INVALID && (id.type != MP_STR || !slice_equal(id.bytes, r->resource)))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/id",
				      "It is the collection in the path.");
	buf_clear(scratch);
	value_without_member(value, slice_text("id"), scratch);
	struct slice rest = arena_copy(&r->arena, buf_slice(scratch));
	buf_clear(scratch);
	value_without_member(rest, slice_text("version"), scratch);
	op->given = arena_copy(&r->arena, buf_slice(scratch));
	return true;
}

void native_policy_change(struct turn *t, struct request *r)
{
	struct policies_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice value;
	uint64_t kind;
	r->op = op;
	op->match = header_kept(r, "if-match");
	bool fine = native_guards(r, &problem) && write_op_of(r, &kind, &problem);
	if (fine && kind == WRITE_UPDATE)
		fine = problem_set(&problem, STATUS_UNSUPPORTED_TYPE, "Content-Type");
	if (fine && r->method != HTTP_DELETE)
		fine = native_body(t, r, &value, &problem) && take_given(t, r, value, &problem);
	if (fine)
		map_refresh(t, r, change_map);
	else
		answer_problem(t, r, &problem);
}

/* ---- reading ---- */

static void policies_map(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	const struct policies_op *op = r->op;
	const struct map_collection *c = NULL;
	(void)index;
	(void)status;
	if (!map_refreshed(t, r, body))
		return;
	if (r->resource.len > 0)
		c = cluster_map_collection(&t->gw->map, r->resource);
	if (c && op->params.fields.count == 0)
		answer_one(t, r, c);
	else
		answer_all(t, r);
}

void native_policies(struct turn *t, struct request *r)
{
	struct policies_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	op->match = header_kept(r, "if-none-match");
	if (list_params(t, r, &op->params, &problem))
		map_refresh(t, r, policies_map);
	else
		answer_problem(t, r, &problem);
}
