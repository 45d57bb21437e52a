#include "common/store/store_rocks_reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/memory.h"

enum {
	RANGES_MAX = 256,                    /* of a family; more of them become one */
	TABLE_BYTES_MIN = 4 * 1024 * 1024,   /* less is not worth a pass */
	BLOB_GARBAGE_MIN = 16 * 1024 * 1024, /* likewise */
	BOTTOMMOST_FORCE_OPTIMIZED = 3,      /* rocksdb::BottommostLevelCompaction */
	NS_PER_S = 1000000000
};

#define REST_MAX_NS (INT64_C(300) * NS_PER_S)

struct removed {
	struct buf first;
	struct buf end;
};

/* Of a family. */
struct removed_list {
	struct removed *list; /* room for RANGES_MAX */
	uint32_t count;
};

struct reclaim {
	struct rocks *rocks;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wanted;
	struct removed_list noted[STORE_FAMILIES];
	bool any;
	bool ends;
	uint64_t passes;
};

/* ---- what was removed ---- */

static void list_clear(struct removed_list *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		buf_close(&l->list[i].first);
		buf_close(&l->list[i].end);
	}
	free(l->list);
	*l = (struct removed_list){0};
}

static void widen(struct removed *r, struct slice first, struct slice end)
{
	if (slice_compare(first, buf_slice(&r->first)) < 0) {
		buf_clear(&r->first);
		buf_append_slice(&r->first, first);
	}
	if (slice_compare(end, buf_slice(&r->end)) > 0) {
		buf_clear(&r->end);
		buf_append_slice(&r->end, end);
	}
}

/* One range that has them all: what lives between is compacted, too. */
static void list_join(struct removed_list *l)
{
	for (uint32_t i = 1; i < l->count; i++) {
		struct removed *r = &l->list[i];
		widen(&l->list[0], buf_slice(&r->first), buf_slice(&r->end));
		buf_close(&r->first);
		buf_close(&r->end);
	}
	l->count = 1;
}

/* Tables of the attachments hold but the places of their bytes: all of them are small. */
static uint32_t ranges_max(enum store_family family)
{
	return family == STORE_ATTACHMENTS ? 1 : RANGES_MAX;
}

static void list_add(struct removed_list *l, enum store_family family, struct slice first,
		     struct slice end)
{
	if (l->count == ranges_max(family)) {
		list_join(l);
		widen(&l->list[0], first, end);
		return;
	}
	if (!l->list)
		l->list = mem_alloc_zero(ranges_max(family) * sizeof *l->list);
	struct removed *r = &l->list[l->count++];
	buf_append_slice(&r->first, first);
	buf_append_slice(&r->end, end);
}

void reclaim_note(struct reclaim *reclaim, const struct pending *p)
{
	if (p->ranges_count == 0)
		return;
	CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
	for (uint32_t i = 0; i < p->ranges_count; i++) {
		const struct pending_range *range = &p->ranges[i];
		list_add(&reclaim->noted[range->family], (enum store_family)range->family,
			 range->first, range->end);
	}
	reclaim->any = true;
	CHECK(pthread_cond_signal(&reclaim->wanted) == 0);
	CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
}

/* ---- a pass ---- */

static uint64_t table_bytes(struct rocks *r, enum store_family family, const struct removed *range)
{
	const char *first = (const char *)range->first.data;
	const char *end = (const char *)range->end.data;
	uint64_t bytes = 0;
	char *error = NULL;
	rocksdb_approximate_sizes_cf(r->db, r->families[family], 1, &first, &range->first.len, &end,
				     &range->end.len, &bytes, &error);
	rocksdb_free(error);
	return bytes;
}

/* Other compactions go on beside it. */
static void compact(struct rocks *r, enum store_family family, const struct removed *range)
{
	rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
	rocksdb_compactoptions_set_exclusive_manual_compaction(o, 0);
	if (!range)
		rocksdb_compactoptions_set_bottommost_level_compaction(o,
								       BOTTOMMOST_FORCE_OPTIMIZED);
	rocksdb_compact_range_cf_opt(
	    r->db, r->families[family], o, range ? (const char *)range->first.data : NULL,
	    range ? range->first.len : 0, range ? (const char *)range->end.data : NULL,
	    range ? range->end.len : 0);
	rocksdb_compactoptions_destroy(o);
}

static uint64_t property(struct rocks *r, const char *name)
{
	uint64_t value = 0;
	if (rocksdb_property_int_cf(r->db, r->families[STORE_ATTACHMENTS], name, &value) != 0)
		return 0;
	return value;
}

static bool set_collection(struct rocks *r, const char *on)
{
	const char *names[] = {"enable_blob_garbage_collection",
			       "blob_garbage_collection_age_cutoff"};
	const char *values[] = {on, "1.0"};
	char *error = NULL;
	rocksdb_set_options_cf(r->db, r->families[STORE_ATTACHMENTS], 2, names, values, &error);
	bool set = error == NULL;
	rocksdb_free(error);
	return set;
}

/* The copy and what it was made of are there at the same time. */
static bool has_room(const struct rocks *r, uint64_t bytes)
{
	struct statvfs v;
	return statvfs(r->path, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize / 2 > bytes;
}

/* Each byte that was removed has at most one copied, so it pays. */
static void collect_blobs(struct rocks *r)
{
	uint64_t all = property(r, "rocksdb.live-blob-file-size");
	uint64_t garbage = property(r, "rocksdb.live-blob-file-garbage-size");
	if (garbage < BLOB_GARBAGE_MIN || garbage < all / 2 || !has_room(r, all - garbage))
		return;
	if (set_collection(r, "true"))
		compact(r, STORE_ATTACHMENTS, NULL);
	(void)set_collection(r, "false");
}

static bool is_ending(struct reclaim *reclaim)
{
	CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
	bool ends = reclaim->ends;
	CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
	return ends;
}

static void pass(struct reclaim *reclaim, const struct removed_list *lists)
{
	struct rocks *r = reclaim->rocks;
	for (int f = 0; f < STORE_FAMILIES; f++)
		for (uint32_t i = 0; i < lists[f].count && !is_ending(reclaim); i++)
			if (f == STORE_ATTACHMENTS ||
			    table_bytes(r, (enum store_family)f, &lists[f].list[i]) >=
				TABLE_BYTES_MIN)
				compact(r, (enum store_family)f, &lists[f].list[i]);
	if (lists[STORE_ATTACHMENTS].count > 0 && !is_ending(reclaim))
		collect_blobs(r);
}

/* ---- its thread ---- */

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Until then, or the end. */
static void rest(struct reclaim *reclaim, int64_t until_ns)
{
	struct timespec at = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
	while (!reclaim->ends &&
	       pthread_cond_timedwait(&reclaim->wanted, &reclaim->lock, &at) != ETIMEDOUT)
		;
}

static void *run(void *context)
{
	struct reclaim *reclaim = context;
	int64_t took_ns = 0;
	CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
	while (!reclaim->ends) {
		struct removed_list lists[STORE_FAMILIES];
		if (!reclaim->any) {
			CHECK(pthread_cond_wait(&reclaim->wanted, &reclaim->lock) == 0);
			continue;
		}
		/* at most a tenth of the time, however often something is removed */
		int64_t rest_ns = took_ns * 9 < REST_MAX_NS ? took_ns * 9 : REST_MAX_NS;
		rest(reclaim, now_ns() + rest_ns +
				  (int64_t)reclaim->rocks->reclaim_delay_ms * (NS_PER_S / 1000));
		if (reclaim->ends)
			break;
		memcpy(lists, reclaim->noted, sizeof lists);
		memset(reclaim->noted, 0, sizeof reclaim->noted);
		reclaim->any = false;
		CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
		int64_t start_ns = now_ns();
		pass(reclaim, lists);
		took_ns = now_ns() - start_ns;
		for (int f = 0; f < STORE_FAMILIES; f++)
			list_clear(&lists[f]);
		CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
		reclaim->passes++;
	}
	CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
	return NULL;
}

struct reclaim *reclaim_new(struct rocks *r)
{
	struct reclaim *reclaim = mem_alloc_zero(sizeof *reclaim);
	pthread_condattr_t clock;
	reclaim->rocks = r;
	CHECK(pthread_mutex_init(&reclaim->lock, NULL) == 0);
	CHECK(pthread_condattr_init(&clock) == 0);
	CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(&reclaim->wanted, &clock) == 0);
	CHECK(pthread_condattr_destroy(&clock) == 0);
	CHECK(pthread_create(&reclaim->thread, NULL, run, reclaim) == 0);
	return reclaim;
}

void reclaim_free(struct reclaim *reclaim)
{
	CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
	reclaim->ends = true;
	CHECK(pthread_cond_signal(&reclaim->wanted) == 0);
	CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
	CHECK(pthread_join(reclaim->thread, NULL) == 0);
	for (int f = 0; f < STORE_FAMILIES; f++)
		list_clear(&reclaim->noted[f]);
	CHECK(pthread_cond_destroy(&reclaim->wanted) == 0);
	CHECK(pthread_mutex_destroy(&reclaim->lock) == 0);
	free(reclaim);
}

uint64_t reclaim_passes(struct reclaim *reclaim)
{
	CHECK(pthread_mutex_lock(&reclaim->lock) == 0);
	uint64_t passes = reclaim->passes;
	CHECK(pthread_mutex_unlock(&reclaim->lock) == 0);
	return passes;
}
