#include "storage-node/query_rows.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/value.h"

int rows_compare(const struct query_rows *rows, const struct query_row *a,
		 const struct query_row *b)
{
	for (uint32_t i = 0; i < rows->order_count; i++) {
		int order = value_compare(a->keys[i], b->keys[i]);
		if (order != 0)
			return rows->order[i].descending ? -order : order;
	}
	return slice_compare(a->id, b->id);
}

/* ---- one row ---- */

static struct slice move(struct slice from, uint8_t **to)
{
	struct slice moved = slice_of(*to, from.len);
	if (from.len > 0)
		memcpy(*to, from.data, from.len);
	*to += from.len;
	return moved;
}

static struct query_row *row_copy(const struct query_rows *rows, const struct query_row *from)
{
	size_t bytes = from->id.len + from->body.len + from->hash.len + from->others.len;
	for (uint32_t i = 0; i < rows->order_count; i++)
		bytes += from->keys[i].len;
	struct query_row *row = mem_alloc(sizeof *row + bytes);
	uint8_t *at = row->memory;
	*row = *from;
	row->bytes = bytes;
	row->id = move(from->id, &at);
	row->body = move(from->body, &at);
	row->hash = move(from->hash, &at);
	row->others = move(from->others, &at);
	for (uint32_t i = 0; i < rows->order_count; i++)
		row->keys[i] = move(from->keys[i], &at);
	return row;
}

/* ---- the heap ---- */

static void swap(struct query_row **a, struct query_row **b)
{
	struct query_row *held = *a;
	*a = *b;
	*b = held;
}

static void sift_up(struct query_rows *rows, uint32_t at)
{
	while (at > 0) {
		uint32_t parent = (at - 1) / 2;
		if (rows_compare(rows, rows->list[at], rows->list[parent]) <= 0)
			return;
		swap(&rows->list[at], &rows->list[parent]);
		at = parent;
	}
}

static void sift_down(struct query_rows *rows, uint32_t at, uint32_t count)
{
	for (;;) {
		uint32_t worst = at;
		for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
			if (rows_compare(rows, rows->list[child], rows->list[worst]) > 0)
				worst = child;
		if (worst == at)
			return;
		swap(&rows->list[at], &rows->list[worst]);
		at = worst;
	}
}

bool rows_wants(struct query_rows *rows, const struct query_row *row)
{
	if (rows->count < rows->limit || rows_compare(rows, row, rows->list[0]) < 0)
		return true;
	rows->dropped = true;
	return false;
}

void rows_append(struct query_rows *rows, const struct query_row *row)
{
	if (rows->count == rows->cap) {
		rows->cap = rows->cap ? rows->cap * 2 : 16;
		rows->list = mem_realloc(rows->list, rows->cap * sizeof *rows->list);
	}
	struct query_row *copy = row_copy(rows, row);
	rows->list[rows->count++] = copy;
	rows->bytes += copy->bytes;
}

void rows_add(struct query_rows *rows, const struct query_row *row)
{
	if (rows->count < rows->limit) {
		rows_append(rows, row);
		sift_up(rows, rows->count - 1);
		return;
	}
	struct query_row *copy = row_copy(rows, row);
	rows->bytes += copy->bytes - rows->list[0]->bytes;
	free(rows->list[0]);
	rows->list[0] = copy;
	rows->dropped = true;
	sift_down(rows, 0, rows->count);
}

void rows_sort(struct query_rows *rows)
{
	for (uint32_t left = rows->count; left > 1; left--) {
		swap(&rows->list[0], &rows->list[left - 1]);
		sift_down(rows, 0, left - 1);
	}
}

/* ---- the answer ---- */

void rows_fill(const struct query_rows *rows, struct arena *arena, struct msg_shard_query_ack *ack)
{
	ack->rows = arena_alloc(arena, (rows->count + 1) * sizeof *ack->rows);
	for (uint32_t i = 0; i < rows->count; i++) {
		const struct query_row *from = rows->list[i];
		struct row *to = &ack->rows[ack->rows_count++];
		to->id = from->id;
		to->revision = (struct revision){from->generation, from->hash};
		to->body = from->body;
		to->conflicts = from->conflicts;
		to->others = from->others;
		to->order_key = arena_alloc(arena, (rows->order_count + 1) * sizeof *to->order_key);
		for (uint32_t k = 0; k < rows->order_count; k++)
			to->order_key[to->order_key_count++] = from->keys[k];
	}
}

void rows_close(struct query_rows *rows)
{
	for (uint32_t i = 0; i < rows->count; i++)
		free(rows->list[i]);
	free(rows->list);
}
