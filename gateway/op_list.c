/* Lists and counts: the leads of all shards are asked at once, their rows merged by id or by the
 * order asked for.
 *
 * A shard whose page is used up is asked for the next one, behind the last row of the one before,
 * so that a list may be longer than one answer of a node; what is longer than one answer of ours
 * goes on with the cursor, which names the last row. Rows to skip are passed without their bodies
 * where they are many. */
#include <inttypes.h>
#include <stdio.h>

#include "common/probe.h"
#include "gateway/conflict_print.h"
#include "gateway/list.h"
#include "gateway/routes.h"

enum { LIST_PAGE_ROWS = 1000, LIST_SKIP_WHOLE_ROWS = 1000 };

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
	struct list_cost *costs; /* beside the shards */
	uint32_t shards_count;
	uint64_t skip; /* rows still to be passed */
	bool blind;    /* while they are, without bodies */
	bool ended;    /* the view wants no more */
	uint64_t rows;
	uint64_t rows_max;
	uint64_t count;
	uint64_t conflicted; /* rows whose documents are in conflict */
	struct buf json;     /* not in the reply: other requests use that meanwhile */
	/* A document whose values change between two pages of an ordered shard may come again. */
	struct map seen;
	struct arena last_memory;
	struct list_key last; /* row passed or emitted; without id: none yet */
};

static void list_close(struct request *r)
{
	struct list_op *op = r->op;
	for (uint32_t i = 0; i < op->shards_count; i++)
		arena_close(&op->shards[i].page);
	buf_close(&op->json);
	map_close(&op->seen);
	arena_close(&op->last_memory);
}

static call_done page_came;

static uint64_t page_rows(const struct list_op *op)
{
	uint64_t left = op->blind ? op->skip : op->skip + op->rows_max - op->rows;
	uint64_t page = op->blind ? LIMIT_ROWS : BOUND(list_page, LIST_PAGE_ROWS);
	if (op->params.count)
		return 0;
	/* Sorting again for each page costs more than one large page; one row more than wanted
	 * tells that there are more. */
	if (op->params.order.count > 0) {
		page = LIMIT_ROWS;
		left++;
	}
	return left < page ? left : page;
}

static bool ask_page(struct turn *t, struct request *r, uint32_t index)
{
	struct list_op *op = r->op;
	struct list_shard *s = &op->shards[index];
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
	s->query.limit = page_rows(op);
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
	return op->ended || op->rows >= op->rows_max ||
	       op->json.len >= t->gw->options.limits.list_bytes_max;
}

static bool list_has_more(const struct list_op *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].more || op->shards[i].at < op->shards[i].rows_count)
			return true;
	return false;
}

static void view_answer(struct turn *t, struct request *r, const struct list_op *op)
{
	uint32_t bytes_max = t->gw->options.limits.list_bytes_max;
	struct problem problem;
	if (op->ended || op->rows >= op->rows_max || !list_has_more(op)) {
		struct list_view *view = op->params.view;
		view->last = &op->last;
		view->costs = op->costs;
		view->costs_count = op->shards_count;
		view->answer(t, r, view, buf_slice(&op->json));
		return;
	}
	problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", bytes_max, op->json.len);
	answer_problem(t, r, &problem);
}

static void list_answer(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	if (op->params.explain) {
		list_explain(t, r, &op->params, op->costs, op->shards_count, op->rows);
		return;
	}
	if (op->params.view) {
		view_answer(t, r, op);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, buf_slice(&op->json));
	buf_append_byte(&reply->body, ']');
	list_index_header(r, reply, &op->params, op->costs, op->shards_count);
	reply_conflicts(r, reply, op->conflicted);
	if (list_has_more(op) && op->last.id.len > 0) {
		struct buf cursor = {0};
		reply->cut = op->params.limit == 0 || op->rows < op->params.limit;
		list_cursor_print(t, r, &op->params, &op->last, &cursor);
		reply_header(r, reply, "X-Parley-Cursor", buf_slice(&cursor));
		buf_close(&cursor);
	}
	reply_send(t, r, reply);
}

/* ---- rows ---- */

static void remember_last(struct list_op *op, const struct row *row)
{
	arena_reset(&op->last_memory);
	struct slice *keys =
	    arena_alloc(&op->last_memory, (row->order_key_count + 1) * sizeof *keys);
	for (uint32_t i = 0; i < row->order_key_count; i++)
		keys[i] = arena_copy(&op->last_memory, row->order_key[i]);
	op->last =
	    (struct list_key){arena_copy(&op->last_memory, row->id), keys, row->order_key_count};
}

/* False if a row with that id was there already. */
static bool is_new(struct list_op *op, struct slice id)
{
	return op->params.order.count == 0 || !map_put(&op->seen, id, op);
}

static bool emit_row(struct turn *t, struct request *r, struct list_shard *s)
{
	struct list_op *op = r->op;
	const struct row *row = &s->rows[s->at++];
	struct list_view *view = op->params.view;
	enum list_taken taken = view ? view->row(view, row, NULL) : LIST_TAKEN;
	op->ended = taken == LIST_ENDED;
	if (op->ended)
		return true;
	remember_last(op, row);
	if (taken == LIST_PASSED)
		return true;
	if (op->skip > 0) {
		op->skip--;
		return true;
	}
	if (!is_new(op, row->id))
		return true;
	if (op->rows++ > 0)
		buf_append_byte(&op->json, ',');
	if (view)
		return view->row(view, row, &op->json) == LIST_TAKEN;
	struct slice body = row->body;
	if (op->params.conflicts)
		body = native_without(t, r, body, CONFLICTS_MEMBER);
	if (!json_document(row->id, body, &op->json))
		return false;
	op->conflicted += row->conflicts > 0;
	if (op->params.conflicts && row->others.len > 0)
		conflict_append_names(row->others, &op->json);
	return true;
}

/* What ids alone are asked for with: no body has a member "id". */
static void fill_fields(struct request *r, struct msg_shard_query *query)
{
	const struct list_op *op = r->op;
	query->fields = op->params.fields.texts;
	query->fields_count = op->params.fields.count;
	if (op->blind) {
		query->fields = arena_alloc(&r->arena, sizeof *query->fields);
		query->fields[0] = slice_text("id");
		query->fields_count = 1;
	}
}

/* Behind this row, from now on with bodies. */
static void go_on_seeing(struct request *r)
{
	struct list_op *op = r->op;
	struct list_key after = list_key_copy(r, &op->last);
	op->blind = false;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct list_shard *s = &op->shards[i];
		s->more |= s->at < s->rows_count;
		s->at = s->rows_count = 0;
		fill_fields(r, &s->query);
		s->query.after = after.id;
		s->query.after_keys = (struct slice *)after.order_keys;
		s->query.after_keys_count = after.order_keys_count;
	}
}

/* ---- pages ---- */

/* Asks for the pages that the merge needs next. True if it must wait for them. */
static bool list_blocked(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	bool blocked = false;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct list_shard *s = &op->shards[i];
		if (!s->asked && (s->at < s->rows_count || !s->more))
			continue;
		blocked = true;
		if (!s->asked && !ask_page(t, r, i)) {
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
		if (!emit_row(t, r, s)) {
			answer_status(t, r, STATUS_INTERNAL, "");
			return;
		}
		if (op->blind && op->skip == 0)
			go_on_seeing(r);
	}
	list_answer(t, r);
}

static void count_advance(struct turn *t, struct request *r)
{
	struct list_op *op = r->op;
	if (list_blocked(t, r))
		return;
	if (op->params.explain) {
		list_explain(t, r, &op->params, op->costs, op->shards_count, op->count);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "{\"documentCount\":%" PRIu64 "}", op->count);
	list_index_header(r, reply, &op->params, op->costs, op->shards_count);
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
		to->others = arena_copy(page, from->others);
		to->conflicts = from->conflicts;
		to->revision.generation = from->revision.generation;
		to->revision.hash = arena_copy(page, from->revision.hash);
		to->order_key_count = from->order_key_count;
		to->order_key =
		    arena_alloc(page, (from->order_key_count + 1) * sizeof *to->order_key);
		for (uint32_t k = 0; k < from->order_key_count; k++)
			to->order_key[k] = arena_copy(page, from->order_key[k]);
	}
	s->more = ack->more_after.len > 0;
	if (!s->more)
		return;
	s->query.after = arena_copy(&r->arena, ack->more_after);
	if (s->query.order_count > 0 && ack->rows_count > 0) {
		struct list_key last = key_of(&ack->rows[ack->rows_count - 1]);
		last = list_key_copy(r, &last);
		s->query.after = last.id;
		s->query.after_keys = (struct slice *)last.order_keys;
		s->query.after_keys_count = last.order_keys_count;
	}
}

static void take_cost(struct request *r, struct list_cost *cost,
		      const struct msg_shard_query_ack *ack)
{
	cost->keys_read += ack->keys_read;
	cost->documents_read += ack->documents_read;
	cost->rows += ack->rows_count;
	cost->pages++;
	cost->sorted |= ack->sorted;
	if (!slice_equal(cost->index, ack->index))
		cost->index = arena_copy(&r->arena, ack->index);
}

/* A storage node says "place: what is allowed", or only one of the two. */
static void list_refused(struct turn *t, struct request *r, enum status status,
			 const struct msg_shard_query_ack *ack)
{
	char text[2 * PLACE_BYTES];
	struct problem problem;
	snprintf(text, sizeof text, "%.*s", ack ? (int)ack->text.len : 0,
		 ack && ack->text.len ? (const char *)ack->text.data : "");
	char *colon = strchr(text, ':');
	const char *detail = colon && colon[1] == ' ' ? colon + 2 : "";
	if (*detail)
		*colon = 0;
	if (status == STATUS_SORT_TOO_LARGE)
		problem_set(&problem, status, "order");
	else if (status == STATUS_PATTERN_TOO_COSTLY)
		problem_set(&problem, status, "query");
	else if (status == STATUS_BAD_QUERY && strcmp(text, "index") == 0)
		problem_detail(&problem, STATUS_BAD_PARAMETER, text, detail);
	else
		problem_detail(&problem, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, text,
			       detail);
	answer_problem(t, r, &problem);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct list_op *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	op->shards[index].asked = false;
	if (!ack || status != STATUS_OK) {
		list_refused(t, r, status, ack);
		return;
	}
	take_page(r, &op->shards[index], ack);
	take_cost(r, &op->costs[index], ack);
	op->count += ack->count;
	if (op->params.count)
		count_advance(t, r);
	else
		list_advance(t, r);
}

/* ---- beginning ---- */

static void fill_query(const struct list_op *op, struct msg_shard_query *query)
{
	const struct list_params *params = &op->params;
	query->filter = params->filter;
	query->order = params->order.texts;
	query->order_count = params->order.count;
	query->after = params->after.id;
	query->after_keys = (struct slice *)params->after.order_keys;
	query->after_keys_count = params->after.order_keys_count;
	query->index = params->index;
	query->no_index = params->no_index;
	query->want_others = params->want_others;
	query->want_sides = params->conflicts;
	query->count = params->count;
	query->any = params->any;
}

static void list_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct list_op *op = r->op;
	r->close = list_close;
	uint64_t *ids = NULL;
	uint32_t shards = c ? list_shards(r, c, op->params.filter, &ids) : 0;
	op->shards = arena_alloc(&r->arena, (shards + 1) * sizeof *op->shards);
	op->costs = arena_alloc(&r->arena, (shards + 1) * sizeof *op->costs);
	op->shards_count = shards;
	for (uint32_t i = 0; i < shards; i++) {
		fill_query(op, &op->shards[i].query);
		fill_fields(r, &op->shards[i].query);
		op->shards[i].query.shard = op->costs[i].shard = ids[i];
		op->shards[i].more = true;
	}
	/* A collection that does not exist is empty. */
	if (op->params.count)
		count_advance(t, r);
	else
		list_advance(t, r);
}

void list_start(struct turn *t, struct request *r, const struct list_params *params)
{
	struct list_op *op = arena_alloc(&r->arena, sizeof *op);
	op->params = *params;
	op->skip = params->skip;
	op->blind = op->skip > LIST_SKIP_WHOLE_ROWS;
	op->rows_max = params->limit > 0 ? params->limit : UINT32_MAX;
	r->op = op;
	collection_find(t, r, false, list_go);
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
	op->skip = op->params.skip;
	op->blind = op->skip > LIST_SKIP_WHOLE_ROWS;
	op->rows_max = op->params.limit > 0 && op->params.limit < bound ? op->params.limit : bound;
	collection_find(t, r, false, list_go);
}
