/* _dbs_info: what GET /{db} says, of many databases, one after the other. */
#include "common/doc/value.h"
#include "gateway/couch/couch.h"
#include "gateway/routes.h"

enum { INFOS_MAX = 100 /* as CouchDB has it */ };

struct infos {
	struct slice *names; /* of databases */
	struct slice *rows;  /* printed */
	uint32_t count;
	uint32_t at;
};

static void next(struct turn *t, struct request *r);

/* c: NULL if it is not there. */
static void add_row(struct turn *t, struct request *r, const struct map_collection *c,
		    const struct couch_counts *counts)
{
	struct infos *op = r->op;
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	buf_append_text(out, "{\"key\":");
	json_string(op->names[op->at], out);
	size_t key = out->len;
	buf_append_text(out, ",\"info\":");
	if (!c || !couch_info_print(c, counts, out)) {
		out->len = key;
		buf_append_text(out, ",\"error\":\"not_found\"");
	}
	buf_append_byte(out, '}');
	op->rows[op->at++] = arena_copy(&r->arena, buf_slice(out));
}

static void counted(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	add_row(t, r, cluster_map_collection(&t->gw->map, r->collection), counts);
	next(t, r);
}

static void next(struct turn *t, struct request *r)
{
	struct infos *op = r->op;
	while (op->at < op->count) {
		struct buf *name = &t->gw->scratch;
		const struct map_collection *c = NULL;
		if (!slice_is(op->names[op->at], COUCH_REPLICATIONS) &&
		    couch_collection_name(op->names[op->at], name))
			c = cluster_map_collection(&t->gw->map, buf_slice(name));
		if (c) {
			r->collection = arena_copy(&r->arena, buf_slice(name));
			couch_count(t, r, c, counted);
			return;
		}
		add_row(t, r, NULL, NULL);
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0; i < op->count; i++) {
		buf_append_text(&reply->body, i > 0 ? "," : "");
		buf_append_slice(&reply->body, op->rows[i]);
	}
	buf_append_byte(&reply->body, ']');
	reply_send(t, r, reply);
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct infos *op = r->op;
	struct problem problem;
	(void)index;
	(void)status;
	if (!map_refreshed(t, r, body))
		return;
	if (r->method != HTTP_POST && !couch_databases(t, r, &op->names, &op->count, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->rows = arena_alloc(&r->arena, (op->count + 1) * sizeof *op->rows);
	next(t, r);
}

static bool take_keys(struct turn *t, struct request *r, struct infos *op, struct problem *p)
{
	struct slice body;
	struct text_list keys;
	if (r->method != HTTP_POST)
		return true;
	if (!native_body(t, r, &body, p))
		return false;
	struct slice value = value_member(body, slice_text("keys"));
	if (value.len == 0)
		return couch_problem(p, COUCH_BAD_REQUEST, "`keys` member must exist.");
	if (!native_text_list(r, value, INFOS_MAX, LIMIT_TEXT_BYTES, &keys))
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "`keys` must be an array of at most 100 names.");
	op->names = keys.texts;
	op->count = keys.count;
	return true;
}

void couch_dbs_info(struct turn *t, struct request *r)
{
	struct infos *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	r->op = op;
	if (take_keys(t, r, op, &problem))
		map_refresh(t, r, map_came);
	else
		answer_problem(t, r, &problem);
}
