#include "common/store/store_rocks.h"

#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/store/store_rocks_reclaim.h"

/* A batch that grew beyond this gives its memory back. */
enum { BATCH_KEEP_BYTES = 1024 * 1024 };

struct store_iterator {
	struct rocks *store;
	rocksdb_iterator_t *it;
	uint64_t commits; /* of the store, when this was made */
	enum store_family family;
	bool valid;
	bool broken; /* what comes next can't be read */
	bool tolerant;
};

enum store_result rocks_failed(struct rocks *r, char *error)
{
	/* out of space and out of quota, as strerror has them in the status text */
	bool full = strstr(error, "No space left") || strstr(error, "Disk quota exceeded");
	if (r->error.len == 0)
		buf_append_text(&r->error, error);
	rocksdb_free(error);
	return full ? STORE_FULL : STORE_BROKEN;
}

static bool is_damage(struct slice error)
{
	static const char damage[] = "Corruption";
	return error.len >= strlen(damage) && memcmp(error.data, damage, strlen(damage)) == 0;
}

static void unpin(struct rocks *r)
{
	if (r->pinned)
		rocksdb_pinnableslice_destroy(r->pinned);
	r->pinned = NULL;
}

static enum store_result rocks_get(struct store *s, enum store_family family, struct slice key,
				   struct slice *value)
{
	struct rocks *r = rocks_of(s);
	switch (pending_get(&r->pending, family, key, value)) {
	case PENDING_VALUE:
		return STORE_OK;
	case PENDING_REMOVED:
		return STORE_ABSENT;
	case PENDING_UNKNOWN:
		break;
	}
	char *error = NULL;
	rocksdb_pinnableslice_t *found = rocksdb_get_pinned_cf(
	    r->db, r->read_options, r->families[family], (const char *)key.data, key.len, &error);
	unpin(r); /* only now: the key may have been lent out by the last get */
	if (error) {
		(void)rocks_failed(r, error);
		r->failed = STORE_BROKEN;
		return STORE_BROKEN;
	}
	if (!found)
		return STORE_ABSENT;
	r->pinned = found;
	value->data = (const uint8_t *)rocksdb_pinnableslice_value(found, &value->len);
	return STORE_OK;
}

static void rocks_put(struct store *s, enum store_family family, struct slice key,
		      struct slice value)
{
	pending_put(&rocks_of(s)->pending, family, key, value);
}

static void rocks_remove(struct store *s, enum store_family family, struct slice key)
{
	pending_remove(&rocks_of(s)->pending, family, key);
}

static void rocks_remove_range(struct store *s, enum store_family family, struct slice first,
			       struct slice end)
{
	pending_remove_range(&rocks_of(s)->pending, family, first, end);
}

static bool rocks_dirty(const struct store *s)
{
	return pending_dirty(&((const struct rocks *)s)->pending);
}

/* Ranges first: of the keys only those are written that no later range covers, so the order holds.
 */
static void fill_batch(struct rocks *r)
{
	struct pending *p = &r->pending;
	const struct pending_entry **list = pending_listed(p);
	for (uint32_t i = 0; i < p->ranges_count; i++) {
		const struct pending_range *range = &p->ranges[i];
		rocksdb_writebatch_delete_range_cf(
		    r->batch, r->families[range->family], (const char *)range->first.data,
		    range->first.len, (const char *)range->end.data, range->end.len);
	}
	for (uint32_t i = 0; i < p->entries_count; i++) {
		const struct pending_entry *e = list[i];
		if (p->ranges_count > 0 && pending_covered(p, e))
			continue;
		if (e->removed)
			rocksdb_writebatch_delete_cf(r->batch, r->families[e->family],
						     (const char *)e->key.data, e->key.len);
		else
			rocksdb_writebatch_put_cf(r->batch, r->families[e->family],
						  (const char *)e->key.data, e->key.len,
						  (const char *)e->value.data, e->value.len);
	}
}

static void clear_batch(struct rocks *r)
{
	size_t bytes;
	(void)rocksdb_writebatch_data(r->batch, &bytes);
	if (bytes <= BATCH_KEEP_BYTES) {
		rocksdb_writebatch_clear(r->batch);
		return;
	}
	rocksdb_writebatch_destroy(r->batch);
	r->batch = rocksdb_writebatch_create();
}

/* An idle iterator pins memtables and files that the next commits make obsolete. */
static void drop_idle(struct rocks *r)
{
	for (int f = 0; f < STORE_FAMILIES; f++) {
		if (!r->idle[f])
			continue;
		rocksdb_iter_destroy(r->idle[f]->it);
		free(r->idle[f]);
		r->idle[f] = NULL;
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *write_batch(struct rocks *r, bool sync)
{
	char *error = NULL;
	uint64_t start_ns = sync ? now_ns() : 0;
	if (pending_dirty(&r->pending)) {
		fill_batch(r);
		rocksdb_write(r->db, sync ? r->write_synced : r->write_unsynced, r->batch, &error);
		clear_batch(r);
	} else {
		rocksdb_flush_wal(r->db, 1, &error);
	}
	if (sync) {
		r->syncs++;
		r->sync_ns += now_ns() - start_ns;
	}
	return error;
}

/* So old may the mark be that is found after a power cut. */
#define MARK_SYNC_NS UINT64_C(1000000000)

static void mark_commit(struct rocks *r, bool sync)
{
	bool done = mark_write(&r->mark, rocksdb_get_latest_sequence_number(r->db), sync);
	uint64_t now = sync ? now_ns() : 0;
	if (done && sync && now - r->mark_synced_ns >= MARK_SYNC_NS) {
		done = mark_sync(&r->mark);
		r->mark_synced_ns = now;
	}
	if (done)
		return;
	buf_append_text(&r->error, "the commit mark could not be written");
	r->failed = STORE_BROKEN;
}

static enum store_result rocks_commit(struct store *s, bool sync)
{
	struct rocks *r = rocks_of(s);
	bool dirty = pending_dirty(&r->pending);
	if (r->failed == STORE_OK && (dirty || (sync && r->unsynced))) {
		drop_idle(r);
		char *error = write_batch(r, sync);
		if (error)
			r->failed = rocks_failed(r, error);
		else
			mark_commit(r, sync);
		if (r->failed == STORE_OK)
			reclaim_note(r->reclaim, &r->pending);
		r->unsynced = !sync;
		r->commits++;
	}
	unpin(r);
	pending_clear(&r->pending);
	return r->failed;
}

static struct store_iterator *rocks_iterate(struct store *s, enum store_family family)
{
	struct rocks *r = rocks_of(s);
	struct store_iterator *it = r->idle[family];
	r->idle[family] = NULL;
	r->iterators_open++;
	if (it) {
		it->valid = false;
		it->tolerant = false;
		return it;
	}
	it = mem_alloc_zero(sizeof *it);
	it->store = r;
	it->it = rocksdb_create_iterator_cf(r->db, r->read_options, r->families[family]);
	it->commits = r->commits;
	it->family = family;
	return it;
}

static void rocks_tolerate(struct store_iterator *it)
{
	it->tolerant = true;
}

static void rocks_iterator_free(struct store_iterator *it)
{
	struct rocks *r = it->store;
	r->iterators_open--;
	/* one of the attachments would keep the files of what was removed; it is rarely wanted */
	if (it->family != STORE_ATTACHMENTS && it->commits == r->commits && !r->idle[it->family] &&
	    !it->broken && r->failed == STORE_OK) {
		r->idle[it->family] = it;
		return;
	}
	rocksdb_iter_destroy(it->it);
	free(it);
}

/* After each move. What ends early because it can't be read must not pass for the end, whether or
 * not somebody asks for the result. */
static void settle(struct store_iterator *it)
{
	char *error = NULL;
	it->valid = rocksdb_iter_valid(it->it);
	if (it->valid)
		return;
	rocksdb_iter_get_error(it->it, &error);
	it->broken = error != NULL;
	if (!error)
		return;
	if (it->tolerant && !is_damage(slice_text(error))) {
		rocksdb_free(error);
		return;
	}
	(void)rocks_failed(it->store, error);
	it->store->failed = STORE_BROKEN;
}

static void rocks_seek(struct store_iterator *it, struct slice key)
{
	rocksdb_iter_seek(it->it, (const char *)key.data, key.len);
	settle(it);
}

static void rocks_seek_before(struct store_iterator *it, struct slice key)
{
	rocksdb_iter_seek_for_prev(it->it, (const char *)key.data, key.len);
	settle(it);
	if (!it->valid)
		return;
	size_t len;
	const char *found = rocksdb_iter_key(it->it, &len);
	if (!slice_equal(slice_of(found, len), key))
		return;
	rocksdb_iter_prev(it->it);
	settle(it);
}

static bool rocks_valid(const struct store_iterator *it)
{
	return it->valid;
}

static void rocks_next(struct store_iterator *it)
{
	CHECK(it->valid);
	rocksdb_iter_next(it->it);
	settle(it);
}

static struct slice rocks_key(const struct store_iterator *it)
{
	size_t len;
	const char *data = rocksdb_iter_key(it->it, &len);
	return slice_of(data, len);
}

static struct slice rocks_value(const struct store_iterator *it)
{
	size_t len;
	const char *data = rocksdb_iter_value(it->it, &len);
	return slice_of(data, len);
}

static enum store_result rocks_iterator_result(const struct store_iterator *it)
{
	return it->broken ? STORE_BROKEN : STORE_OK;
}

static void rocks_close(struct store *s)
{
	struct rocks *r = rocks_of(s);
	CHECK(r->iterators_open == 0);
	unpin(r);
	drop_idle(r);
	pending_close(&r->pending);
	rocksdb_cancel_all_background_work(r->db, 1);
	reclaim_free(r->reclaim);
	for (int f = 0; f < STORE_FAMILIES; f++)
		rocksdb_column_family_handle_destroy(r->families[f]);
	rocksdb_close(r->db);
	rocksdb_writebatch_destroy(r->batch);
	rocksdb_writeoptions_destroy(r->write_synced);
	rocksdb_writeoptions_destroy(r->write_unsynced);
	rocksdb_readoptions_destroy(r->read_options);
	rocksdb_options_destroy(r->options);
	rocksdb_cache_destroy(r->cache);
	mark_close(&r->mark);
	buf_close(&r->error);
	free(r->path);
	free(r);
}

bool store_rocks_failed(const struct store *s)
{
	return ((const struct rocks *)s)->failed != STORE_OK;
}

bool store_rocks_damaged(const struct store *s)
{
	return store_rocks_failed(s) && is_damage(store_rocks_error(s));
}

struct slice store_rocks_error(const struct store *s)
{
	return buf_slice(&((const struct rocks *)s)->error);
}

static const struct store_ops rocks_ops = {
    .get = rocks_get,
    .put = rocks_put,
    .remove = rocks_remove,
    .remove_range = rocks_remove_range,
    .dirty = rocks_dirty,
    .commit = rocks_commit,
    .iterate = rocks_iterate,
    .tolerate = rocks_tolerate,
    .iterator_free = rocks_iterator_free,
    .seek = rocks_seek,
    .seek_before = rocks_seek_before,
    .valid = rocks_valid,
    .next = rocks_next,
    .key = rocks_key,
    .value = rocks_value,
    .iterator_result = rocks_iterator_result,
    .close = rocks_close,
};

void rocks_start(struct rocks *r)
{
	r->base.ops = &rocks_ops;
	r->batch = rocksdb_writebatch_create();
	r->read_options = rocksdb_readoptions_create();
	r->write_synced = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(r->write_synced, 1);
	r->write_unsynced = rocksdb_writeoptions_create();
	r->reclaim = reclaim_new(r);
}
