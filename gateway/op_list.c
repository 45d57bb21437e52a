/* Lists and counts: the leads of all shards are asked at once, their rows merged by id or by the
 * order asked for.
 *
 * Without an order a shard whose page is used up is asked for the next one, so that a list may be
 * longer than one answer of a node; what is longer than one answer of ours goes on with the cursor,
 * which names the last id. With an order each shard gives its first rows; there is no going on, so
 * a longer list is refused. */
#include <inttypes.h>
#include <stdio.h>

#include "gateway/native.h"
#include "gateway/routes.h"

enum { LIST_PAGE_ROWS = 1000 };

struct list_shard {
	struct msg_shard_query query;
	struct arena page; /* the rows below */
	struct row *rows;
	uint32_t rows_count;
	uint32_t at;
	bool more;  /* there is another page */
	bool asked; /* and it is under way */
};

struct list_op {
	struct list_params params;
	struct list_shard *shards;
	uint32_t shards_count;
	uint64_t rows;
	uint64_t rows_max;
	uint64_t count;
	struct buf json; /* not in the reply: other requests use that meanwhile */
	uint8_t last_id[LIMIT_ID_BYTES];
	size_t last_id_len;
};

static void list_close(struct request *r)
{
	struct list_op *op = r->op;
	for (uint32_t i = 0; i < op->shards_count; i++)
		arena_close(&op->shards[i].page);
	buf_close(&op->json);
}

static call_done page_came;

static bool ask_page(struct turn *t, struct request *r, uint32_t index)
{
	struct list_op *op = r->op;
	struct list_shard *s = &op->shards[index];
	uint64_t left = op->rows_max - op->rows;
	struct call_spec spec = {
	    .reach = op->params.any ? REACH_ANY : REACH_LEAD,
	    .shard = s->query.shard,
	    .type = MSG_shard_query,
	    .answer = MSG_shard_query_ack,
	    .message = &s->query,
	    .repeatable = true,
	    .index = index,
	    .done = page_came,
	};
	/* One more than wanted tells whether an ordered list is complete. */
	if (op->params.order.count > 0)
		s->query.limit = left + 1;
	else
		s->query.limit = left < LIST_PAGE_ROWS ? left : LIST_PAGE_ROWS;
	if (op->params.count)
		s->query.limit = 0;
	s->asked = true;
	return call_open(t, r, &spec);
}

static struct list_key key_of(const struct row *row)
{
	return (struct list_key){row->id, row->order_key, row->order_key_count};
}

/* The shard whose next row comes first; NULL when none has any. */
static struct list_shard *first_shard(struct list_op *op)
{
	struct list_shard *best = NULL;
	struct list_key best_key = {0};
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct list_shard *s = &op->shards[i];
		if (s->at == s->rows_count)
			continue;
		struct list_key key = key_of(&s->rows[s->at]);
		if (best && list_compare(&op->params, &best_key, &key) <= 0)
			continue;
		best = s;
		best_key = key;
	}
	return best;
}

static bool list_full(const struct turn *t, const struct list_op *op)
{
	return op->rows >= op->rows_max || op->json.len >= t->gw->options.limits.list_bytes_max;
}

static bool list_has_more(const struct list_op *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].more || op->shards[i].at < op->shards[i].rows_count)
			return true;
	return false;
}

static void list_answer(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	const struct gateway_limits *limits = &t->gw->options.limits;
	bool more = list_has_more(op);
	bool as_asked = op->params.limit > 0 && op->rows >= op->params.limit;
	struct reply *reply = reply_begin(t, 200);
	if (more && !as_asked && op->params.order.count > 0) {
		struct problem problem;
		problem_limit(&problem, STATUS_LIMIT_REACHED, "max_list_rows",
			      limits->list_rows_max, op->rows);
		snprintf(problem.detail, sizeof problem.detail,
			 "A list with an order must fit into one answer; give a limit.");
		answer_problem(t, r, &problem);
		return;
	}
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, buf_slice(&op->json));
	buf_append_byte(&reply->body, ']');
	if (more && op->params.order.count == 0 && op->last_id_len > 0) {
		struct buf cursor = {0};
		list_cursor_print(slice_of(op->last_id, op->last_id_len), &cursor);
		reply_header(r, reply, "X-Parley-Cursor", buf_slice(&cursor));
		buf_close(&cursor);
	}
	reply_send(t, r, reply);
}

static bool emit_row(struct list_op *op, struct list_shard *s)
{
	const struct row *row = &s->rows[s->at++];
	if (op->rows++ > 0)
		buf_append_byte(&op->json, ',');
	op->last_id_len = row->id.len;
	if (row->id.len > 0)
		memcpy(op->last_id, row->id.data, row->id.len);
	return json_document(row->id, row->body, &op->json);
}

/* Asks for the pages that the merge needs next. True if it must wait for them. */
static bool list_blocked(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	bool blocked = false;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct list_shard *s = &op->shards[i];
		if (s->asked) {
			blocked = true;
			continue;
		}
		if (s->at < s->rows_count || !s->more)
			continue;
		if (op->params.order.count > 0) {
			list_answer(t, r);
			return true;
		}
		blocked = true;
		if (!ask_page(t, r, i)) {
			answer_status(t, r, STATUS_OVERLOADED, "");
			return true;
		}
	}
	return blocked;
}

static void list_advance(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	while (!list_full(t, op)) {
		if (list_blocked(t, r))
			return;
		struct list_shard *s = first_shard(op);
		if (!s)
			break;
		if (!emit_row(op, s)) {
			answer_status(t, r, STATUS_INTERNAL, "");
			return;
		}
	}
	list_answer(t, r);
}

static void count_advance(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	if (list_blocked(t, r))
		return;
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "{\"documentCount\":%" PRIu64 "}", op->count);
	reply_send(t, r, reply);
}

static void take_page(struct request *r, struct list_shard *s,
		      const struct msg_shard_query_ack *ack)
{
	struct arena *page = &s->page;
	arena_reset(page);
	s->at = 0;
	s->rows_count = ack->rows_count;
	s->rows = arena_alloc(page, (ack->rows_count + 1) * sizeof *s->rows);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		const struct row *from = &ack->rows[i];
		struct row *to = &s->rows[i];
		to->id = arena_copy(page, from->id);
		to->body = arena_copy(page, from->body);
		to->order_key_count = from->order_key_count;
		to->order_key =
		    arena_alloc(page, (from->order_key_count + 1) * sizeof *to->order_key);
		for (uint32_t k = 0; k < from->order_key_count; k++)
			to->order_key[k] = arena_copy(page, from->order_key[k]);
	}
	s->more = ack->more_after.len > 0;
	s->query.after = arena_copy(&r->arena, ack->more_after);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct list_op *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	struct problem problem;
	op->shards[index].asked = false;
	if (!ack || status != STATUS_OK) {
		char text[PLACE_BYTES];
		snprintf(text, sizeof text, "%.*s", ack ? (int)ack->text.len : 0,
			 ack && ack->text.len ? (const char *)ack->text.data : "");
		problem_set(&problem, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, text);
		answer_problem(t, r, &problem);
		return;
	}
	take_page(r, &op->shards[index], ack);
	op->count += ack->count;
	if (op->params.count)
		count_advance(t, r);
	else
		list_advance(t, r);
}

static void list_nothing(struct turn *t, struct request *r)
{
	const struct list_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, op->params.count ? "{\"documentCount\":0}" : "[]");
	reply_send(t, r, reply);
}

static void list_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct list_op *op = r->op;
	if (!c) {
		list_nothing(t, r);
		return;
	}
	op->shards = arena_alloc(&r->arena, c->shards_count * sizeof *op->shards);
	op->shards_count = c->shards_count;
	r->close = list_close;
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct msg_shard_query *query = &op->shards[i].query;
		query->shard = c->shards[i]->shard.id;
		query->filter = op->params.filter;
		query->fields = op->params.fields.texts;
		query->fields_count = op->params.fields.count;
		query->order = op->params.order.texts;
		query->order_count = op->params.order.count;
		query->after = op->params.after;
		query->count = op->params.count;
		query->any = op->params.any;
	}
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (!ask_page(t, r, i)) {
			answer_status(t, r, STATUS_OVERLOADED, "");
			return;
		}
}

void native_list(struct turn *t, struct request *r)
{
	struct list_op *op = arena_alloc(&r->arena, sizeof *op);
	uint64_t bound = t->gw->options.limits.list_rows_max;
	struct problem problem;
	r->op = op;
	if (!list_params(t, r, &op->params, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	/* A shard gives LIMIT_ROWS at most; one more than wanted must fit. */
	if (op->params.order.count > 0 && bound == LIMIT_ROWS)
		bound = LIMIT_ROWS - 1;
	op->rows_max = op->params.limit > 0 && op->params.limit < bound ? op->params.limit : bound;
	collection_find(t, r, false, list_go);
}
