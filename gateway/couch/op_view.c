/* Views. The leads of all shards are asked for their rows, which are merged in their order, and
 * reduced as they come. */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/couch/view_private.h"
#include "gateway/routes.h"

enum { VIEW_ROWS_ASKED = 1000 };

static void view_close(struct request *r)
{
	struct view_op *op = r->op;
	for (uint32_t i = 0; i < op->shards_count; i++)
		arena_close(&op->shards[i].page);
	view_reduce_close(op);
}

void view_too_large(struct turn *t, struct request *r, size_t bytes)
{
	struct problem problem;
	problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes",
		      t->gw->options.limits.list_bytes_max, bytes);
	answer_problem(t, r, &problem);
}

/* ---- rows ---- */

bool view_is_full(const struct view_op *op)
{
	return op->lines.count >= op->params.limit;
}

static struct view_line *lines_add(struct request *r, struct view_lines *lines)
{
	if (lines->count == lines->cap) {
		uint32_t cap = lines->cap ? 2 * lines->cap : 64;
		struct view_line *list = arena_alloc(&r->arena, cap * sizeof *list);
		if (lines->cap > 0)
			memcpy(list, lines->list, lines->cap * sizeof *list);
		lines->list = list;
		lines->cap = cap;
	}
	return &lines->list[lines->count++];
}

void view_add_line(struct request *r, struct view_op *op, const struct view_line *from)
{
	if (op->skip > 0) {
		op->skip--;
		return;
	}
	struct view_line *line = lines_add(r, &op->lines);
	line->id = arena_copy(&r->arena, from->id);
	line->key = arena_copy(&r->arena, from->key);
	line->value = arena_copy(&r->arena, from->value);
	op->lines.bytes += line->id.len + line->key.len + line->value.len + sizeof *line;
}

/* Which comes first? */
static int compare_rows(const struct view_op *op, const struct view_shard *a,
			const struct view_shard *b)
{
	const struct view_row *x = &a->rows[a->at];
	const struct view_row *y = &b->rows[b->at];
	uint64_t x_range = a->passed + x->range;
	uint64_t y_range = b->passed + y->range;
	if (x_range != y_range)
		return x_range < y_range ? -1 : 1;
	int order = slice_compare(x->place, y->place);
	return op->params.descending ? -order : order;
}

static struct view_shard *first_shard(const struct view_op *op)
{
	struct view_shard *best = NULL;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct view_shard *s = &op->shards[i];
		if (s->at < s->rows_count && (!best || compare_rows(op, s, best) < 0))
			best = s;
	}
	return best;
}

/* ---- pages ---- */

static call_done page_came;

static bool ask_page(struct turn *t, struct request *r, uint32_t index)
{
	struct view_op *op = r->op;
	struct view_shard *s = &op->shards[index];
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = s->query.shard,
				 .type = MSG_view_query,
				 .answer = MSG_view_query_ack,
				 .message = &s->query,
				 .repeatable = true,
				 .index = index,
				 .done = page_came};
	uint64_t left = op->params.limit - op->lines.count;
	bool all = op->kind != REDUCE_NONE || op->params.limit > LIMIT_ROWS ||
		   left + op->skip > VIEW_ROWS_ASKED;
	s->query.limit = all ? VIEW_ROWS_ASKED : left + op->skip;
	s->asked = true;
	return call_open(t, r, &spec);
}

/* True if rows must come before the merge can go on. */
static bool blocked(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	bool waits = false;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct view_shard *s = &op->shards[i];
		if (!s->asked && (s->at < s->rows_count || !s->more))
			continue;
		waits = true;
		if (!s->asked && !ask_page(t, r, i)) {
			answer_status(t, r, STATUS_OVERLOADED, "");
			return true;
		}
	}
	return waits;
}

static void view_end(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	if (!view_is_full(op))
		view_reduce_end_group(t, r);
	if (op->kind != REDUCE_SCRIPT || !view_reduce_awaits(t, r, true))
		view_lines_answer(t, r);
}

static bool waits(const struct view_op *op)
{
	if (op->script.running)
		return true;
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].asked)
			return true;
	return false;
}

void view_advance(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	if (waits(op))
		return;
	while (!view_is_full(op)) {
		if (blocked(t, r))
			return;
		struct view_shard *s = first_shard(op);
		if (!s)
			break;
		const struct view_row *row = &s->rows[s->at++];
		struct view_line line = {.id = row->id, .key = row->key, .value = row->value};
		if (op->kind == REDUCE_NONE) {
			view_add_line(r, op, &line);
		} else if (!view_reduce_row(t, r, row, (uint32_t)(s->passed + row->range))) {
			couch_answer_error(t, r, COUCH_BAD_VALUE);
			return;
		}
		if (op->lines.bytes > t->gw->options.limits.list_bytes_max) {
			view_too_large(t, r, op->lines.bytes);
			return;
		}
		if (op->kind == REDUCE_SCRIPT && view_reduce_awaits(t, r, false))
			return;
	}
	view_end(t, r);
}

/* The next page begins behind the last row of this one. */
static void move_ranges(struct request *r, struct view_op *op, struct view_shard *s)
{
	const struct view_row *last = &s->rows[s->rows_count - 1];
	uint32_t done = (uint32_t)last->range;
	s->query.ranges += done;
	s->query.ranges_count -= done;
	struct view_range *range = &s->query.ranges[0];
	if (op->params.descending) {
		range->end = arena_copy(&r->arena, last->place);
		return;
	}
	uint8_t *behind = arena_alloc(&r->arena, last->place.len + 1);
	memcpy(behind, last->place.data, last->place.len);
	behind[last->place.len] = 0;
	range->first = slice_of(behind, last->place.len + 1);
}

static void take_page(struct request *r, struct view_op *op, struct view_shard *s,
		      const struct msg_view_query_ack *ack)
{
	arena_reset(&s->page);
	s->passed = (uint32_t)(s->query.ranges - s->ranges);
	s->at = 0;
	s->rows_count = ack->rows_count;
	s->rows = arena_alloc(&s->page, (ack->rows_count + 1) * sizeof *s->rows);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		const struct view_row *from = &ack->rows[i];
		s->rows[i] = (struct view_row){
		    from->range, arena_copy(&s->page, from->place), arena_copy(&s->page, from->id),
		    arena_copy(&s->page, from->key), arena_copy(&s->page, from->value)};
	}
	s->total = ack->total;
	s->more = ack->more && ack->rows_count > 0 &&
		  ack->rows[ack->rows_count - 1].range < s->query.ranges_count;
	if (s->more)
		move_ranges(r, op, s);
}

static void view_refused(struct turn *t, struct request *r, enum status status,
			 const struct msg_view_query_ack *ack)
{
	struct problem problem;
	char text[PLACE_BYTES];
	if (status != STATUS_BAD_FUNCTION || !ack) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	snprintf(text, sizeof text, "%.*s", (int)(ack->text.len < 120 ? ack->text.len : 120),
		 ack->text.len ? (const char *)ack->text.data : "");
	couch_problem(&problem, COUCH_COMPILATION, text);
	answer_problem(t, r, &problem);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct view_op *op = r->op;
	struct view_shard *s = &op->shards[index];
	const struct msg_view_query_ack *ack = body;
	s->asked = false;
	if (!ack || status != STATUS_OK) {
		view_refused(t, r, status, ack);
		return;
	}
	take_page(r, op, s, ack);
	view_advance(t, r);
}

/* ---- beginning ---- */

static void fill_shard(struct request *r, struct view_op *op, struct view_shard *s, uint64_t shard,
		       struct slice signature)
{
	const struct view_params *p = &op->params;
	s->ranges = arena_alloc(&r->arena, (p->spans_count + 1) * sizeof *s->ranges);
	memcpy(s->ranges, p->ranges, p->spans_count * sizeof *s->ranges);
	s->more = true;
	s->query = (struct msg_view_query){
	    .shard = shard,
	    .signature = signature,
	    .map = op->design.map,
	    .form = collation_form(),
	    .options = op->design.options,
	    .library = op->design.library,
	    .update = p->update,
	    .ranges = s->ranges,
	    .ranges_count = p->spans_count,
	    .descending = p->descending,
	    .no_values = op->kind == REDUCE_COUNT || op->kind == REDUCE_DISTINCT,
	};
}

static void view_begin(struct turn *t, struct request *r, struct view_op *op)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	uint8_t digest[16];
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	design_signature(&op->design, digest);
	struct slice signature = arena_copy(&r->arena, slice_of(digest, sizeof digest));
	op->shards = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->shards);
	op->shards_count = c->shards_count;
	r->close = view_close;
	for (uint32_t i = 0; i < c->shards_count; i++)
		fill_shard(r, op, &op->shards[i], c->shards[i]->shard.id, signature);
	op->skip = op->params.skip;
	/* also for a limit of 0, which wants to know how many there are */
	if (!blocked(t, r))
		view_advance(t, r);
}

static void have_sequence(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	struct view_op *op = r->op;
	op->sequence = counts->sequence;
	view_begin(t, r, op);
}

static bool take_design(struct request *r, struct view_op *op, struct slice design,
			struct problem *p)
{
	if (!design_view(r, design, r->part, &op->design))
		return couch_problem(p, COUCH_NO_VIEW, "");
	if (design_is_foreign(design))
		return couch_problem(p, COUCH_UNKNOWN_LANGUAGE, "");
	if (!reduce_kind(op->design.reduce, &op->kind))
		return couch_problem(p, COUCH_BAD_DESIGN, "");
	if (!op->params.reduce)
		op->kind = REDUCE_NONE;
	op->order = design_order(&op->design);
	return view_params_check(&op->params, op->kind != REDUCE_NONE, p) &&
	       view_params_ranges(r, &op->params, op->order, p);
}

static void design_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct view_op *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem = {0};
	(void)index;
	if (ack && ack->deleted) {
		couch_answer_error(t, r, COUCH_DELETED);
		return;
	}
	if (!ack || !status_is_success(status)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	struct slice design = arena_copy(&r->arena, ack->body);
	if (!take_design(r, op, design, &problem))
		answer_problem(t, r, &problem);
	else if (op->params.update_seq && c)
		couch_count(t, r, c, have_sequence);
	else
		view_begin(t, r, op);
}

static void view_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct view_op *op = r->op;
	op->read.id = r->resource;
	if (!couch_read_send(t, r, c, &op->read, design_came))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_view(struct turn *t, struct request *r)
{
	struct view_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice body = {0};
	r->op = op;
	bool fine =
	    r->method != HTTP_POST || r->http->body.len == 0 || native_body(t, r, &body, &problem);
	if (fine && !r->reply && value_member(body, slice_text("queries")).len > 0)
		couch_queries_begin(t, r, r->http->path, body);
	else if (fine && view_params_take(t, r, body, &op->params, &problem))
		couch_find(t, r, view_go);
	else
		answer_problem(t, r, &problem);
}
