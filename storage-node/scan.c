#include "storage-node/scan.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/keys.h"

/* ---- all documents ---- */

static void start_documents(struct scan *scan)
{
	scan->kind = SCAN_DOCUMENTS;
	scan->started = false;
	store_seek(scan->store, scan->documents,
		   scan->after.len > 0
		       ? key_document_end(&scan->key, scan->shard, buf_slice(&scan->after))
		       : key_shard(&scan->key, 'd', scan->shard));
}

static enum scan_result ended(struct scan *scan, const struct store_iterator *it)
{
	return store_iterator_result(scan->store, it) == STORE_OK ? SCAN_END : SCAN_BROKEN;
}

/* Fills the row from the record that the iterator stands on; false: it is not live. */
static bool look(struct scan *scan, int64_t *budget, struct scan_row *row)
{
	struct record_peek peek;
	row->record = store_value(scan->store, scan->documents);
	*budget -= (int64_t)(row->record.len / SCAN_RECORD_BYTES);
	scan->documents_read++;
	if (!record_peek(row->record, &peek) || !peek.live)
		return false;
	row->body = peek.body;
	return true;
}

/* A document of which there are many keys is passed at once. */
static void step(struct scan *scan, int64_t *budget)
{
	struct slice id;
	struct slice rest;
	if (scan->parts < SCAN_PARTS_MAX ||
	    !key_split(store_key(scan->store, scan->documents), &id, &rest)) {
		store_next(scan->store, scan->documents);
		return;
	}
	*budget -= SCAN_SEEK_COST;
	scan->parts = 0;
	store_seek(scan->store, scan->documents, key_document_end(&scan->key, scan->shard, id));
}

static enum scan_result next_document(struct scan *scan, int64_t *budget, struct scan_row *row)
{
	struct store *store = scan->store;
	while (--*budget >= 0) {
		struct slice rest;
		if (scan->started)
			step(scan, budget);
		scan->started = true;
		if (!store_valid(store, scan->documents))
			return ended(scan, scan->documents);
		struct slice key = store_key(store, scan->documents);
		if (key.len <= KEY_SHARD_BYTES || key.data[0] != 'd' ||
		    be64_read(key.data + 1) != scan->shard)
			return SCAN_END;
		bool record = key_split(key, &row->id, &rest) && rest.len == 0;
		scan->parts = record ? 0 : scan->parts + 1;
		if (record && look(scan, budget, row))
			return SCAN_ROW;
	}
	return SCAN_LATER;
}

/* The document that an index key names. */
static bool look_up(struct scan *scan, struct slice id, int64_t *budget, struct scan_row *row)
{
	struct slice key = key_document(&scan->key, scan->shard, id);
	*budget -= SCAN_SEEK_COST;
	store_seek(scan->store, scan->documents, key);
	if (!store_valid(scan->store, scan->documents) ||
	    !slice_equal(store_key(scan->store, scan->documents), key))
		return false;
	row->id = id;
	return look(scan, budget, row);
}

/* ---- ids that an index names, then their documents ---- */

static int compare_ids(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static void sort_ids(struct scan *scan)
{
	const uint8_t *at = scan->ids.data;
	uint32_t unique = 0;
	scan->sorted = mem_alloc((scan->ids_count + 1) * sizeof *scan->sorted);
	for (uint32_t i = 0; i < scan->ids_count; i++) {
		scan->sorted[i] = slice_of(at + 4, be32_read(at));
		at += 4 + scan->sorted[i].len;
	}
	if (scan->ids_count > 1)
		qsort(scan->sorted, scan->ids_count, sizeof *scan->sorted, compare_ids);
	for (uint32_t i = 0; i < scan->ids_count; i++)
		if (i == 0 || !slice_equal(scan->sorted[i], scan->sorted[unique - 1]))
			scan->sorted[unique++] = scan->sorted[i];
	scan->ids_count = unique;
	scan->kind = SCAN_IDS;
}

static void take_id(struct scan *scan, struct slice key)
{
	struct slice id = key_index_document(key);
	if (scan->after.len > 0 && slice_compare(id, buf_slice(&scan->after)) <= 0)
		return;
	buf_append_be32(&scan->ids, (uint32_t)id.len);
	buf_append_slice(&scan->ids, id);
	scan->ids_count++;
}

/* SCAN_END: all ids are there; or there are so many that reading all documents is cheaper. */
static enum scan_result gather(struct scan *scan, int64_t *budget)
{
	struct store *store = scan->store;
	while (scan->range < scan->plan->ranges_count) {
		const struct plan_range *range = &scan->plan->ranges[scan->range];
		if (--*budget < 0)
			return SCAN_LATER;
		if (scan->started) {
			store_next(store, scan->keys);
		} else {
			*budget -= SCAN_SEEK_COST - 1;
			store_seek(store, scan->keys, range->first);
		}
		scan->started = true;
		bool valid = store_valid(store, scan->keys);
		if (!valid && store_iterator_result(store, scan->keys) != STORE_OK)
			return SCAN_BROKEN;
		if (!valid || slice_compare(store_key(store, scan->keys), range->end) >= 0) {
			scan->range++;
			scan->started = false;
			continue;
		}
		scan->keys_read++;
		take_id(scan, store_key(store, scan->keys));
		if (scan->ids_count > scan->ids_max || scan->ids.len > SCAN_IDS_BYTES_MAX) {
			start_documents(scan);
			return SCAN_END;
		}
	}
	sort_ids(scan);
	return SCAN_END;
}

/* Those that the plan names, from behind `after` on. */
static void start_ids(struct scan *scan)
{
	const struct plan *plan = scan->plan;
	scan->kind = SCAN_IDS;
	scan->sorted = mem_alloc((plan->ids_count + 1) * sizeof *scan->sorted);
	for (uint32_t i = 0; i < plan->ids_count; i++)
		if (scan->after.len == 0 ||
		    slice_compare(plan->ids[i], buf_slice(&scan->after)) > 0)
			scan->sorted[scan->ids_count++] = plan->ids[i];
}

static enum scan_result next_of_ids(struct scan *scan, int64_t *budget, struct scan_row *row)
{
	while (scan->at < scan->ids_count) {
		if (*budget <= 0)
			return SCAN_LATER;
		if (look_up(scan, scan->sorted[scan->at++], budget, row))
			return SCAN_ROW;
		if (store_iterator_result(scan->store, scan->documents) != STORE_OK)
			return SCAN_BROKEN;
	}
	return SCAN_END;
}

/* ---- in an index's order ---- */

/* The iterator's key is in the range; its document's id goes to scan->id. */
static bool key_inside(struct scan *scan, struct slice first, struct slice end)
{
	if (!store_valid(scan->store, scan->keys))
		return false;
	struct slice key = store_key(scan->store, scan->keys);
	if (slice_compare(key, first) < 0 || slice_compare(key, end) >= 0)
		return false;
	buf_clear(&scan->id);
	buf_append_slice(&scan->id, key_index_document(key));
	return true;
}

static void seek_behind(struct scan *scan, struct slice key)
{
	buf_clear(&scan->key);
	buf_append_slice(&scan->key, key);
	buf_append_byte(&scan->key, 0); /* no key goes on with that */
	store_seek(scan->store, scan->keys, buf_slice(&scan->key));
}

static bool move_forward(struct scan *scan)
{
	const struct plan *plan = scan->plan;
	const struct plan_range *range = plan->ranges;
	if (scan->started)
		store_next(scan->store, scan->keys);
	else if (plan->start.len > 0 && slice_compare(plan->start, range->first) >= 0)
		seek_behind(scan, plan->start);
	else
		store_seek(scan->store, scan->keys, range->first);
	scan->started = true;
	return key_inside(scan, range->first, range->end);
}

static bool in_group(struct scan *scan)
{
	struct slice group = buf_slice(&scan->group);
	if (!store_valid(scan->store, scan->keys))
		return false;
	struct slice key = store_key(scan->store, scan->keys);
	return key.len > group.len && slice_equal(slice_of(key.data, group.len), group);
}

static void enter_group(struct scan *scan, struct slice key)
{
	buf_clear(&scan->group);
	buf_append(&scan->group, key.data, key.len - key_index_document(key).len);
}

/* Keys that are equal but for the id are read forward, so that rows of equal order come by id. */
static bool move_backward(struct scan *scan)
{
	const struct plan *plan = scan->plan;
	const struct plan_range *range = plan->ranges;
	if (scan->started) {
		store_next(scan->store, scan->keys);
	} else {
		scan->started = true;
		if (plan->start.len > 0 && slice_compare(plan->start, range->end) < 0) {
			enter_group(scan, plan->start);
			seek_behind(scan, plan->start);
		}
	}
	if (scan->group.len > 0 && in_group(scan))
		return key_inside(scan, range->first, range->end);
	store_seek_before(scan->store, scan->keys,
			  scan->group.len > 0 ? buf_slice(&scan->group) : range->end);
	if (!key_inside(scan, range->first, range->end))
		return false;
	enter_group(scan, store_key(scan->store, scan->keys));
	store_seek(scan->store, scan->keys, buf_slice(&scan->group));
	return key_inside(scan, range->first, range->end);
}

static enum scan_result next_in_order(struct scan *scan, int64_t *budget, struct scan_row *row)
{
	while (--*budget >= 0) {
		bool inside = scan->kind == SCAN_FORWARD ? move_forward(scan) : move_backward(scan);
		if (!inside)
			return ended(scan, scan->keys);
		scan->keys_read++;
		if (look_up(scan, buf_slice(&scan->id), budget, row))
			return SCAN_ROW;
	}
	return SCAN_LATER;
}

/* ---- the whole ---- */

void scan_open(struct scan *scan, struct store *store, uint64_t shard, const struct plan *plan,
	       struct slice after, uint64_t documents)
{
	*scan = (struct scan){.store = store, .shard = shard, .plan = plan};
	buf_append_slice(&scan->after, after);
	scan->documents = store_iterate(store, STORE_DOCUMENTS);
	if (!plan) {
		start_documents(scan);
		return;
	}
	if (plan->ids) {
		start_ids(scan);
		return;
	}
	scan->keys = store_iterate(store, STORE_INDEXES);
	scan->kind = !plan->ordered ? SCAN_GATHER : plan->descending ? SCAN_BACKWARD : SCAN_FORWARD;
	uint64_t share = documents / 8 < UINT32_MAX / 2 ? documents / 8 : UINT32_MAX / 2;
	if (plan->named)
		share = UINT32_MAX;
	scan->ids_max = share > SCAN_IDS_MIN ? (uint32_t)share : SCAN_IDS_MIN;
}

enum scan_result scan_next(struct scan *scan, int64_t *budget, struct scan_row *row)
{
	if (scan->kind == SCAN_GATHER) {
		enum scan_result result = gather(scan, budget);
		if (result != SCAN_END)
			return result;
	}
	switch (scan->kind) {
	case SCAN_DOCUMENTS:
		return next_document(scan, budget, row);
	case SCAN_IDS:
		return next_of_ids(scan, budget, row);
	default:
		return next_in_order(scan, budget, row);
	}
}

bool scan_uses_index(const struct scan *scan)
{
	return scan->plan && scan->kind != SCAN_DOCUMENTS;
}

void scan_close(struct scan *scan)
{
	if (scan->documents)
		store_iterator_free(scan->store, scan->documents);
	if (scan->keys)
		store_iterator_free(scan->store, scan->keys);
	buf_close(&scan->after);
	buf_close(&scan->key);
	buf_close(&scan->id);
	buf_close(&scan->group);
	buf_close(&scan->ids);
	free(scan->sorted);
}
