/* _local_docs: the _local documents of a database, in order of their ids. */
#include <inttypes.h>

#include "gateway/couch/local.h"
#include "gateway/list.h"
#include "gateway/routes.h"

struct local_docs {
	struct list_view view; /* first: the list's hooks lead back here */
	struct list_params params;
	struct slice prefix; /* of their ids in the collection that keeps them */
	bool include_docs;
	bool none; /* limit=0 */
};

static enum list_taken take_row(struct list_view *view, const struct row *row, struct buf *out)
{
	const struct local_docs *op = (const struct local_docs *)view;
	size_t before = op->prefix.len - (sizeof "_local/" - 1);
	if (row->id.len <= op->prefix.len ||
	    memcmp(row->id.data, op->prefix.data, op->prefix.len) != 0)
		return LIST_ENDED;
	if (!out)
		return LIST_TAKEN;
	struct slice name = slice_of(row->id.data + before, row->id.len - before);
	buf_append_text(out, "{\"id\":");
	json_string(name, out);
	buf_append_text(out, ",\"key\":");
	json_string(name, out);
	buf_printf(out, ",\"value\":{\"rev\":\"0-%" PRIu64 "\"}", row->revision.generation);
	if (op->include_docs) {
		buf_append_text(out, ",\"doc\":");
		if (!couch_local_print(name, row->body, row->revision.generation, out))
			buf_append_text(out, "null");
	}
	buf_append_byte(out, '}');
	return LIST_TAKEN;
}

static void rows_answer(struct turn *t, struct request *r, struct list_view *view,
			struct slice rows)
{
	(void)view;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"total_rows\":null,\"offset\":null,\"rows\":[");
	buf_append_slice(&reply->body, rows);
	buf_append_text(&reply->body, "]}");
	reply_send(t, r, reply);
}

static void database_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct local_docs *op = r->op;
	struct buf prefix = {0};
	if (op->none) {
		rows_answer(t, r, &op->view, slice_of(NULL, 0));
		return;
	}
	buf_printf(&prefix, "%016" PRIx64 "/_local/", c->settings.id);
	op->prefix = arena_copy(&r->arena, buf_slice(&prefix));
	buf_close(&prefix);
	op->params.after.id = op->prefix;
	r->collection = slice_text(COLLECTION_LOCAL);
	list_start(t, r, &op->params);
}

void couch_local_docs(struct turn *t, struct request *r)
{
	struct local_docs *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice limit;
	op->view = (struct list_view){.row = take_row, .answer = rows_answer};
	op->params.view = &op->view;
	op->include_docs = request_flag(r, "include_docs");
	r->op = op;
	bool fine = couch_number(r, "limit", &op->params.limit, &problem) &&
		    couch_number(r, "skip", &op->params.skip, &problem);
	op->none = request_parameter(r, "limit", &limit) && op->params.limit == 0;
	if (!fine)
		answer_problem(t, r, &problem);
	else if (op->params.skip > LIST_SKIP_MAX)
		couch_answer_error(t, r, COUCH_BAD_PARAMETER);
	else
		couch_find(t, r, database_go);
}
