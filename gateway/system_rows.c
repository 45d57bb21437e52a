/* Lists that no shard keeps: rows made here, then queried as if they were documents. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/doc/value.h"
#include "gateway/native.h"

static struct list_key key_of(const struct system_row *row, uint32_t orders)
{
	return (struct list_key){row->id, row->order_keys, orders};
}

/* Insertion by halves: few rows, no globals for a comparator. */
static void sort_rows(struct system_row *rows, uint32_t count, const struct list_params *params)
{
	uint32_t orders = params->order.count;
	for (uint32_t i = 1; i < count; i++) {
		struct system_row row = rows[i];
		struct list_key key = key_of(&row, orders);
		uint32_t low = 0;
		uint32_t high = i;
		while (low < high) {
			uint32_t middle = low + (high - low) / 2;
			struct list_key other = key_of(&rows[middle], orders);
			if (list_compare(params, &key, &other) < 0)
				high = middle;
			else
				low = middle + 1;
		}
		memmove(&rows[low + 1], &rows[low], (i - low) * sizeof *rows);
		rows[low] = row;
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

static uint32_t filter_rows(struct request *r, struct system_row *rows, uint32_t count,
			    const struct list_params *params)
{
	struct query_error error = {0};
	struct query *query = query_compile(params->filter, &r->arena, &error);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++)
		if (query && query_matches(query, rows[i].id, rows[i].body))
			rows[kept++] = rows[i];
	return kept;
}

static bool print_row(struct turn *t, const struct system_row *row,
		      const struct list_params *params, struct buf *out)
{
	struct slice body = row->body;
	if (params->fields.count > 0) {
		buf_clear(&t->gw->scratch);
		value_project(body, params->fields.texts, params->fields.count, &t->gw->scratch);
		body = buf_slice(&t->gw->scratch);
	}
	return json_document(row->id, body, out);
}

static void answer_one(struct turn *t, struct request *r, const struct system_row *rows,
		       uint32_t count, const struct list_params *params)
{
	struct reply *reply = reply_begin(t, 200);
	for (uint32_t i = 0; i < count; i++) {
		if (!slice_equal(rows[i].id, r->resource))
			continue;
		if (print_row(t, &rows[i], params, &reply->body))
			reply_send(t, r, reply);
		else
			answer_status(t, r, STATUS_INTERNAL, "");
		return;
	}
	answer_status(t, r, STATUS_NOT_FOUND, "");
}

void system_rows_answer(struct turn *t, struct request *r, struct system_row *rows, uint32_t count,
			const struct list_params *params)
{
	if (r->resource.len > 0) {
		answer_one(t, r, rows, count, params);
		return;
	}
	count = filter_rows(r, rows, count, params);
	struct reply *reply = reply_begin(t, 200);
	if (params->count) {
		buf_printf(&reply->body, "{\"documentCount\":%" PRIu32 "}", count);
		reply_send(t, r, reply);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		fill_order_keys(t, r, &rows[i], params);
	sort_rows(rows, count, params);
	if (params->limit > 0 && params->limit < count)
		count = (uint32_t)params->limit;
	bool fine = true;
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0; i < count && fine; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		fine = print_row(t, &rows[i], params, &reply->body);
	}
	buf_append_byte(&reply->body, ']');
	if (fine)
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}
