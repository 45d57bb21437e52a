/* _index/_bulk_delete: each index is dropped by a request of its own in the gateway's table, made
 * when the one before has been answered. What of a design document could not be dropped is told of
 * it; the others go all the same. */
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "gateway/couch/inner.h"
#include "gateway/couch/mango.h"
#include "gateway/routes.h"
#include "gateway/url.h"

struct drops {
	struct slice *ids; /* of design documents */
	uint32_t ids_count;
	uint32_t id; /* the one at hand */
	const struct mango_index *indexes;
	uint32_t indexes_count;
	uint32_t index;   /* the next to be looked at */
	struct slice why; /* members of the error of the one at hand; empty: none */
	bool found;       /* it has an index */
	struct couch_inner inner;
	struct buf dropped; /* printed rows */
	struct buf failed;
	bool flying;
	bool going; /* further up the stack */
};

static void drops_close(struct request *r)
{
	struct drops *op = r->op;
	buf_close(&op->dropped);
	buf_close(&op->failed);
}

static void drop_answered(struct turn *t, struct request *inner, const struct reply *reply);

static void drop_index(struct turn *t, struct request *r, const struct mango_index *index)
{
	struct drops *op = r->op;
	struct buf path = {0};
	struct buf name = {0};
	buf_append_byte(&path, '/');
	if (couch_database_name(r->collection, &name))
		url_encode(buf_slice(&name), &path);
	buf_append_text(&path, "/_index/");
	url_encode(index->ddoc, &path);
	buf_append_text(&path, "/json/");
	url_encode(index->name, &path);
	op->inner.path = arena_copy(&r->arena, buf_slice(&path));
	op->flying = true;
	op->found = true;
	couch_inner_ask(t, r, &op->inner, drop_answered);
	buf_close(&path);
	buf_close(&name);
}

/* All indexes of the design document at hand have been asked for. */
static void end_document(struct drops *op)
{
	bool fine = op->found && op->why.len == 0;
	struct buf *out = fine ? &op->dropped : &op->failed;
	buf_append_text(out, out->len > 0 ? ",{\"id\":" : "{\"id\":");
	json_string(op->ids[op->id], out);
	if (fine)
		buf_append_text(out, ",\"ok\":true}");
	else if (op->why.len == 0)
		buf_append_text(out, ",\"error\":\"not_found\"}");
	buf_append_text(out, op->why.len > 0 ? "," : "");
	buf_append_slice(out, op->why);
	op->id++;
	op->index = 0;
	op->found = false;
	op->why = slice_of(NULL, 0);
}

/* False: it waits for an answer, or all is done. */
static bool step(struct turn *t, struct request *r, struct drops *op)
{
	if (op->flying || op->id == op->ids_count)
		return false;
	if (op->index == op->indexes_count || op->why.len > 0) {
		end_document(op);
		return true;
	}
	const struct mango_index *index = &op->indexes[op->index++];
	if (slice_equal(index->ddoc, op->ids[op->id]))
		drop_index(t, r, index);
	return true;
}

static void go_on(struct turn *t, struct request *r)
{
	struct drops *op = r->op;
	if (op->going)
		return;
	op->going = true;
	while (step(t, r, op))
		;
	op->going = false;
	if (op->flying)
		return;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"success\":[");
	buf_append_slice(&reply->body, buf_slice(&op->dropped));
	buf_append_text(&reply->body, "],\"fail\":[");
	buf_append_slice(&reply->body, buf_slice(&op->failed));
	buf_append_text(&reply->body, "]}");
	reply_send(t, r, reply);
}

static void drop_answered(struct turn *t, struct request *inner, const struct reply *reply)
{
	struct request *r = couch_inner_around(t, inner);
	struct drops *op = r ? r->op : NULL;
	struct slice body = buf_slice(&reply->body);
	if (!op)
		return;
	op->flying = false;
	if (reply->status >= 300 && body.len > 1)
		op->why = arena_copy(&r->arena, slice_of(body.data + 1, body.len - 1));
	go_on(t, r);
}

static void have_indexes(struct turn *t, struct request *r, const struct mango_index *list,
			 uint32_t count)
{
	struct drops *op = r->op;
	op->indexes = list;
	op->indexes_count = count;
	r->close = drops_close;
	go_on(t, r);
}

static void drops_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	mango_list_indexes(t, r, have_indexes);
}

static bool take_ids(struct turn *t, struct request *r, struct drops *op, struct problem *p)
{
	struct slice body;
	struct text_list ids;
	if (!native_body(t, r, &body, p))
		return false;
	struct slice value = value_member(body, slice_text("docids"));
	if (value.len == 0)
		return couch_problem(p, COUCH_MISSING_KEY, "Missing required key: docids");
	if (!native_text_list(r, value, MANGO_INDEXES_MAX, LIMIT_ID_BYTES, &ids))
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "`docids` must be an array of at most 256 ids.");
	op->ids = ids.texts;
	op->ids_count = ids.count;
	for (uint32_t i = 0; i < ids.count; i++)
		op->ids[i] = mango_ddoc_id(r, ids.texts[i]);
	return true;
}

void couch_indexes_drop(struct turn *t, struct request *r)
{
	struct drops *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	couch_inner_of(r, &op->inner);
	op->inner.method = HTTP_DELETE;
	op->inner.query = slice_of(NULL, 0);
	r->op = op;
	if (take_ids(t, r, op, &problem))
		couch_find(t, r, drops_go);
	else
		answer_problem(t, r, &problem);
}
