/* Lists that no shard keeps: rows made here, then queried as if they were documents. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/routes.h"

struct slice system_collection(const struct request *r)
{
	const char *from = r->route->pattern + 1;
	const char *end = strchr(from, '/');
	return slice_of(from, end ? (size_t)(end - from) : strlen(from));
}

static struct list_key key_of(const struct system_row *row, const struct list_params *params)
{
	return (struct list_key){row->id, row->order_keys, params->order.count};
}

static void sort_range(struct system_row *rows, struct system_row *spare, uint32_t count,
		       const struct list_params *params)
{
	if (count < 2)
		return;
	uint32_t half = count / 2;
	uint32_t left = 0;
	uint32_t right = half;
	sort_range(rows, spare, half, params);
	sort_range(rows + half, spare, count - half, params);
	memcpy(spare, rows, count * sizeof *rows);
	for (uint32_t i = 0; i < count; i++) {
		struct list_key a = key_of(&spare[left], params);
		struct list_key b = key_of(&spare[right < count ? right : left], params);
		bool take_left =
		    right == count || (left < half && list_compare(params, &a, &b) <= 0);
		rows[i] = take_left ? spare[left++] : spare[right++];
	}
}

static void fill_order_keys(struct turn *t, struct request *r, struct system_row *row,
			    const struct list_params *params)
{
	row->order_keys =
	    arena_alloc(&r->arena, (params->order.count + 1) * sizeof *row->order_keys);
	for (uint32_t i = 0; i < params->order.count; i++) {
		buf_clear(&t->gw->scratch);
		struct slice value =
		    query_order_value(&params->orders[i], row->id, row->body, &t->gw->scratch);
		row->order_keys[i] = arena_copy(&r->arena, value);
	}
}

/* False if a pattern takes too many steps. */
static bool filter_rows(struct request *r, struct system_row *rows, uint32_t *count,
			const struct list_params *params)
{
	struct query_error error = {0};
	struct query *query = query_compile(params->filter, &r->arena, &error);
	uint32_t kept = 0;
	CHECK(query);
	for (uint32_t i = 0; i < *count; i++)
		if (query_matches(query, rows[i].id, rows[i].body))
			rows[kept++] = rows[i];
	*count = kept;
	return !query_too_costly(query);
}

static bool print_row(struct turn *t, const struct system_row *row, const struct text_list *fields,
		      struct buf *out)
{
	struct slice body = row->body;
	if (fields->count > 0) {
		buf_clear(&t->gw->scratch);
		value_project(body, fields->texts, fields->count, &t->gw->scratch);
		body = buf_slice(&t->gw->scratch);
	}
	return json_document(row->id, body, out);
}

static void answer_one(struct turn *t, struct request *r, const struct system_row *rows,
		       uint32_t count, bool cut, const struct list_params *params)
{
	struct reply *reply = reply_begin(t, 200);
	struct problem problem;
	for (uint32_t i = 0; i < count; i++) {
		if (!slice_equal(rows[i].id, r->resource))
			continue;
		if (print_row(t, &rows[i], &params->fields, &reply->body))
			reply_send(t, r, reply);
		else
			answer_status(t, r, STATUS_INTERNAL, "");
		return;
	}
	if (!cut) {
		answer_status(t, r, STATUS_NOT_FOUND, "");
		return;
	}
	problem_detail(&problem, STATUS_LIMIT_REACHED, "path",
		       "There are more rows than are listed; this may be one of them.");
	answer_problem(t, r, &problem);
}

/* The rows of one answer: from *first, as many as the limits let through. */
static uint32_t page_of(struct turn *t, const struct system_row *rows, uint32_t count,
			const struct list_params *params, uint32_t *first)
{
	uint64_t max = t->gw->options.limits.list_rows_max;
	*first = 0;
	while (params->after.id.len > 0 && *first < count) {
		struct list_key key = key_of(&rows[*first], params);
		if (list_compare(params, &key, &params->after) > 0)
			break;
		++*first;
	}
	*first = params->skip < count - *first ? *first + (uint32_t)params->skip : count;
	if (params->limit > 0 && params->limit < max)
		max = params->limit;
	return max < count - *first ? (uint32_t)max : count - *first;
}

static void answer_page(struct turn *t, struct request *r, const struct system_row *rows,
			uint32_t count, bool cut, const struct list_params *params)
{
	uint32_t first;
	uint32_t left = page_of(t, rows, count, params, &first);
	struct list_cost cost = {.documents_read = count, .sorted = params->order.count > 0};
	struct buf json = {0};
	bool fine = true;
	if (params->explain) {
		list_explain(t, r, params, &cost, 1, left);
		return;
	}
	for (uint32_t i = 0; i < left && fine; i++) {
		buf_append_byte(&json, i > 0 ? ',' : '[');
		fine = print_row(t, &rows[first + i], &params->fields, &json);
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_slice(&reply->body, buf_slice(&json));
	buf_append_text(&reply->body, left > 0 ? "]" : "[]");
	buf_clear(&json);
	list_index_header(r, reply, params, &cost, 1);
	if (left > 0 && first + left < count) {
		reply->cut = params->limit == 0 || left < params->limit;
		struct list_key last = key_of(&rows[first + left - 1], params);
		list_cursor_print(t, r, params, &last, &json);
		reply_header(r, reply, "X-Parley-Cursor", buf_slice(&json));
	}
	if (cut)
		reply_header(r, reply, "X-Parley-More", slice_text("true"));
	buf_close(&json);
	if (fine)
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

static void answer_count(struct turn *t, struct request *r, uint32_t read, uint32_t count, bool cut,
			 const struct list_params *params)
{
	struct list_cost cost = {.documents_read = read};
	if (params->explain) {
		list_explain(t, r, params, &cost, 1, count);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "{\"documentCount\":%" PRIu32 "}", count);
	list_index_header(r, reply, params, &cost, 1);
	if (cut)
		reply_header(r, reply, "X-Parley-More", slice_text("true"));
	reply_send(t, r, reply);
}

void system_rows_answer(struct turn *t, struct request *r, struct system_row *rows, uint32_t count,
			bool cut, const struct list_params *params)
{
	uint32_t read = count;
	if (r->resource.len > 0) {
		answer_one(t, r, rows, count, cut, params);
		return;
	}
	if (!filter_rows(r, rows, &count, params)) {
		answer_status(t, r, STATUS_PATTERN_TOO_COSTLY, "query");
		return;
	}
	if (params->count) {
		answer_count(t, r, read, count, cut, params);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		fill_order_keys(t, r, &rows[i], params);
	struct system_row *spare = arena_alloc(&r->arena, (count + 1) * sizeof *spare);
	sort_range(rows, spare, count, params);
	answer_page(t, r, rows, count, cut, params);
}
