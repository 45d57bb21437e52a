/* GET /{collection}/{id}/_references: a list of those that refer to it. */
#include "gateway/references.h"
#include "gateway/routes.h"
#include "proto/msgpack.h"

static void references_close(struct request *r)
{
	struct references_op *op = r->op;
	buf_close(&op->json);
}

static void list_ended(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, buf_slice(&op->json));
	buf_append_byte(&reply->body, ']');
	references_headers(r, reply);
	if (references_has_more(op)) {
		struct buf cursor = {0};
		references_cursor(t, r, &cursor);
		reply_header(r, reply, "X-Parley-Cursor", buf_slice(&cursor));
		buf_close(&cursor);
	}
	reply_send(t, r, reply);
}

static void list_page(struct turn *t, struct request *r, const struct msg_shard_query_ack *page)
{
	struct references_op *op = r->op;
	for (uint32_t i = 0; i < page->rows_count; i++) {
		buf_append_text(&op->json, op->json.len > 0 ? ",{" : "{");
		references_print(op, &page->rows[i], &op->json);
		buf_append_byte(&op->json, '}');
	}
	references_next(t, r);
}

static void list_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct problem problem;
	r->close = references_close;
	if (!c)
		answer_no_collection(t, r, "path");
	else if (references_begin(t, r, &problem))
		references_next(t, r);
	else
		answer_problem(t, r, &problem);
}

void native_references(struct turn *t, struct request *r)
{
	struct references_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice value;
	r->op = op;
	op->page = list_page;
	op->ended = list_ended;
	op->limit = REFERENCES_DEFAULT;
	bool fine = native_json_parameter(t, r, "limit", &value, &problem);
	struct mp_reader reader = mp_reader_of(fine ? value : (struct slice){0});
	struct mp_token token = mp_read(&reader);
	if (fine && value.len > 0) {
		op->limit = token.u64;
		fine = (token.type == MP_UINT && token.u64 >= 1 && token.u64 <= REFERENCES_MAX) ||
		       problem_detail(&problem, STATUS_BAD_PARAMETER, "limit",
				      "A whole number from 1 to 1000.");
	}
	if (fine && request_parameter(r, "cursor", &value))
		op->cursor = value;
	if (fine)
		collection_find(t, r, false, list_go);
	else
		answer_problem(t, r, &problem);
}
