/* _find and _explain. */
#include "common/doc/value.h"
#include "gateway/couch/find.h"
#include "gateway/routes.h"

/* ---- as a native list ---- */

/* Whoever sorts by a field wants documents that have it; whoever names an index with a filter, what
 * is in it. */
static void make_filter(struct turn *t, struct request *r, struct find *op)
{
	uint32_t count = 0;
	struct slice *all = arena_alloc(&r->arena, (op->sort.count + 2) * sizeof *all);
	all[count++] = op->selector;
	for (uint32_t i = 0; i < op->sort.count; i++) {
		struct buf *out = &t->gw->scratch;
		buf_clear(out);
		mp_write_map(out, 1);
		mp_write_str(out, op->sort.list[i].name);
		mp_write_map(out, 1);
		mp_write_text(out, "$exists");
		mp_write_bool(out, true);
		all[count++] = arena_copy(&r->arena, buf_slice(out));
	}
	if (op->partial.len > 0)
		all[count++] = op->partial;
	op->params.filter = mango_filter(t, r, all, count);
}

static bool make_order(struct turn *t, struct request *r, struct find *op, struct problem *p)
{
	struct list_params *params = &op->params;
	uint32_t count = op->sort.count;
	if (count == 0 || (find_by_id_only(&op->sort) && !op->sort.descending))
		return true;
	params->order.texts = arena_alloc(&r->arena, count * sizeof *params->order.texts);
	params->orders = arena_alloc(&r->arena, count * sizeof *params->orders);
	for (uint32_t i = 0; i < count; i++) {
		struct query_error error;
		struct buf *out = &t->gw->scratch;
		if (op->sort.list[i].path.len == 0)
			return couch_problem(p, COUCH_NO_INDEX, "");
		buf_clear(out);
		buf_append_text(out, op->sort.descending ? "desc(" : "asc(");
		buf_append_slice(out, op->sort.list[i].path);
		buf_append_byte(out, ')');
		params->order.texts[i] = arena_copy(&r->arena, buf_slice(out));
		if (!query_order_parse(params->order.texts[i], &params->orders[i], &error))
			return couch_problem(p, COUCH_BAD_SORT, "");
	}
	params->order.count = count;
	return true;
}

/* ---- beginning ---- */

static bool needs_index(const struct find *op)
{
	return op->sort.count > 0 && !find_by_id_only(&op->sort) && !op->indexed;
}

static void find_start(struct turn *t, struct request *r, struct find *op)
{
	struct problem problem;
	if (op->bookmark.len > 0 && !list_cursor_parse(t, r, op->bookmark, &op->params)) {
		couch_problem(&problem, COUCH_BAD_BOOKMARK, "");
		answer_problem(t, r, &problem);
		return;
	}
	op->params.view = &op->view;
	op->params.want_others = op->conflicts;
	op->params.limit = op->limit;
	op->params.skip = op->skip;
	if (op->explain)
		mango_list_indexes(t, r, find_explain);
	else if (op->limit == 0)
		find_answer(t, r, &op->view, slice_of(NULL, 0));
	else
		list_start(t, r, &op->params);
}

/* The native index says only that there is a filter: which, its design document. */
static void find_partial(struct turn *t, struct request *r, const struct mango_index *list,
			 uint32_t count)
{
	struct find *op = r->op;
	struct query_error error;
	struct problem problem;
	bool fine = true;
	for (uint32_t i = 0; i < count && op->partial.len == 0; i++)
		if (slice_is(op->index, list[i].native))
			op->partial = list[i].filter;
	if (op->partial.len > 0) {
		make_filter(t, r, op);
		fine = query_compile(op->params.filter, &r->arena, &error) ||
		       mango_refuse(&error, &problem);
	} else {
		op->index = slice_of(NULL, 0);
		op->indexed = false;
		op->unused = true;
		fine = !needs_index(op) || couch_problem(&problem, COUCH_NO_INDEX, "");
	}
	if (fine)
		find_start(t, r, op);
	else
		answer_problem(t, r, &problem);
}

static void find_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct find *op = r->op;
	struct query_error error;
	struct problem problem;
	make_filter(t, r, op);
	const struct query *query = query_compile(op->params.filter, &r->arena, &error);
	bool fine = query ? make_order(t, r, op, &problem) : mango_refuse(&error, &problem);
	if (fine)
		find_choose_index(r, op, c, query);
	if (fine && needs_index(op))
		fine = couch_problem(&problem, COUCH_NO_INDEX, "");
	if (!fine)
		answer_problem(t, r, &problem);
	else if (mango_is_partial(op->index))
		mango_list_indexes(t, r, find_partial);
	else
		find_start(t, r, op);
}

static void find_begin(struct turn *t, struct request *r, bool explain)
{
	struct find *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	*op = (struct find){
	    .arena = &r->arena, .limit = FIND_LIMIT, .explain = explain, .started_ms = t->now_ms};
	op->view = (struct list_view){.row = find_take_row, .answer = find_answer};
	r->op = op;
	if (find_take(t, r, op, &problem))
		couch_find(t, r, find_go);
	else
		answer_problem(t, r, &problem);
}

void couch_mango_find(struct turn *t, struct request *r)
{
	find_begin(t, r, false);
}

void couch_mango_explain(struct turn *t, struct request *r)
{
	find_begin(t, r, true);
}
