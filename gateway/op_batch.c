/* POST of an array: every document is a write of its own; the answer tells of each. */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/native.h"

struct batch_item {
	struct msg_doc_write write;
	enum status status;
	struct revision current; /* of a refusal */
};

struct batch {
	struct batch_item *items;
	uint32_t count;
	uint32_t left; /* without an answer yet */
	struct native_operation operation;
};

static void print_item(const struct batch_item *item, struct buf *out)
{
	struct msg_doc_write_ack ack = {.revision = item->current};
	struct problem problem;
	if (status_is_success(item->status)) {
		/* A POST that was done before answers as it did then. */
		int http = item->status == STATUS_ACCEPTED ? 202 : 201;
		buf_printf(out, "{\"status\":%d,\"document\":", http);
		if (!json_document(item->write.id, item->write.body, out))
			buf_append_text(out, "null");
		buf_append_byte(out, '}');
		return;
	}
	write_problem(WRITE_POST, item->status, &ack, &problem);
	problem_print(&problem, slice_of(NULL, 0), out);
}

static void batch_answer(struct turn *t, struct request *r)
{
	const struct batch *batch = r->op;
	struct reply *reply = reply_begin(t, 201);
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0; i < batch->count; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		print_item(&batch->items[i], &reply->body);
	}
	buf_append_byte(&reply->body, ']');
	reply_send(t, r, reply);
}

static void item_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	struct batch *batch = r->op;
	const struct msg_doc_write_ack *ack = body;
	struct batch_item *item = &batch->items[index];
	item->status = status;
	if (ack) {
		item->current = ack->revision;
		item->current.hash = arena_copy(&r->arena, ack->revision.hash);
	}
	if (--batch->left == 0)
		batch_answer(t, r);
}

static void batch_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct batch *batch = r->op;
	/* One more than there are, so that an early failure does not answer before all were sent.
	 */
	batch->left = batch->count + 1;
	for (uint32_t i = 0; i < batch->count; i++)
		if (!write_send(t, r, c, &batch->items[i].write, i, item_written))
			item_written(t, r, i, STATUS_OVERLOADED, NULL);
	if (--batch->left == 0)
		batch_answer(t, r);
}

static bool take_item(struct turn *t, struct request *r, struct slice value, uint32_t index,
		      struct problem *p)
{
	struct batch *batch = r->op;
	struct msg_doc_write *write = &batch->items[index].write;
	struct native_document document;
	char place[32];
	snprintf(place, sizeof place, "/%u", (unsigned)index);
	if (!native_document(t, r, value, place, &document, p))
		return false;
	write->op = WRITE_POST;
	write->expect = EXPECT_ABSENT;
	write->body = document.body;
	native_operation_fill(t, r, &batch->operation, index, write);
	write->id = document.id.len ? document.id : native_new_id(t, r, write);
	return true;
}

static bool take_items(struct turn *t, struct request *r, struct slice array, struct problem *p)
{
	struct batch *batch = r->op;
	struct msg_doc_write probe = {.op = WRITE_POST};
	struct mp_reader reader = mp_reader_of(array);
	uint32_t count = mp_read(&reader).count;
	uint32_t max = t->gw->options.limits.batch_items_max;
	if (count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, count);
	if (!native_operation(t, r, &batch->operation, p) || !native_preconditions(r, &probe, p))
		return false;
	batch->count = count;
	batch->items = arena_alloc(&r->arena, (count + 1) * sizeof *batch->items);
	for (uint32_t i = 0; i < count; i++)
		if (!take_item(t, r, mp_value(&reader), i, p))
			return false;
	return true;
}

void batch_start(struct turn *t, struct request *r, struct slice array)
{
	struct batch *batch = arena_alloc(&r->arena, sizeof *batch);
	struct problem problem;
	r->op = batch;
	if (!take_items(t, r, array, &problem))
		answer_problem(t, r, &problem);
	else if (batch->count == 0)
		batch_answer(t, r);
	else
		collection_find(t, r, true, batch_go);
}
