/* The store interface over a simulated disk. Pending puts are versions with the number of the
 * commit to come. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/sim/disk_private.h"

enum { BREAKS_WITHIN = 16 };

struct disk_store {
	struct store base; /* first: a struct store * is a struct disk_store * */
	struct disk *disk;
	struct disk_faults faults;
	struct rng commit_rng;
	struct rng get_rng;
	struct rng walk_rng;
	enum store_result failed; /* STORE_OK, or why no further commit is taken */
	bool damaged;             /* a corrupt value was read */
	bool dirty;
	uint8_t *lent; /* NULL unless SIM_SANITIZED */
};

struct store_iterator {
	struct disk_store *store;
	struct disk *disk;
	const struct versions *versions;
	const struct node *node; /* NULL: not valid */
	const struct version *version;
	uint64_t number; /* of the last commit shown */
	uint64_t breaks; /* at so many values from here; 0: it does not */
	bool tolerant;
	enum store_result result;
};

static struct disk_store *disk_store_of(struct store *s)
{
	return (struct disk_store *)s;
}

static void take_back(struct disk_store *ds)
{
	free(ds->lent);
	ds->lent = NULL;
}

/* What a get lends out is valid until the next call. With AddressSanitizer it is a copy that the
 * next call frees, so that a borrower that keeps it is found. */
static struct slice lend(struct disk_store *ds, struct slice value)
{
#ifdef SIM_SANITIZED
	ds->lent = mem_alloc(value.len);
	if (value.len)
		memcpy(ds->lent, value.data, value.len);
	return slice_of(ds->lent, value.len);
#else
	(void)ds;
	return value;
#endif
}

static enum store_result sim_get(struct store *s, enum store_family family, struct slice key,
				 struct slice *value)
{
	struct disk_store *ds = disk_store_of(s);
	const struct node *node = versions_find(&ds->disk->families[family], key);
	const struct version *v = node ? node->newest : NULL;
	take_back(ds);
	bool broken = ds->faults.get_broken && rng_chance(&ds->get_rng, ds->faults.get_broken);
	broken |= v && v->unreadable;
	if (broken || (v && v->corrupt)) {
		ds->damaged |= !broken;
		ds->failed = STORE_BROKEN;
		return STORE_BROKEN;
	}
	if (!v || v->removed)
		return STORE_ABSENT;
	*value = lend(ds, slice_of(v->data, v->len));
	return STORE_OK;
}

static void sim_put(struct store *s, enum store_family family, struct slice key, struct slice value)
{
	struct disk_store *ds = disk_store_of(s);
	disk_write(ds->disk, family, key, &value);
	ds->disk->put += value.len;
	if (ds->disk->put > ds->disk->put_max)
		ds->disk->put_max = ds->disk->put;
	ds->dirty = true;
	take_back(ds);
}

static void sim_remove(struct store *s, enum store_family family, struct slice key)
{
	struct disk_store *ds = disk_store_of(s);
	disk_write(ds->disk, family, key, NULL);
	ds->dirty = true;
	take_back(ds);
}

static void sim_remove_range(struct store *s, enum store_family family, struct slice first,
			     struct slice end)
{
	struct disk_store *ds = disk_store_of(s);
	if (slice_compare(first, end) >= 0) {
		take_back(ds);
		return;
	}
	struct node *node = versions_seek(&ds->disk->families[family], first);
	for (; node && slice_compare(node_key(node), end) < 0; node = node->next[0])
		disk_erase(ds->disk, family, node);
	ds->dirty = true;
	take_back(ds);
}

static bool sim_dirty(const struct store *s)
{
	return ((const struct disk_store *)s)->dirty;
}

static enum store_result draw_failure(struct disk_store *ds)
{
	struct disk *d = ds->disk;
	enum store_result asked = d->next_commit;
	d->next_commit = STORE_OK;
	if (asked != STORE_OK)
		return asked;
	if (ds->faults.commit_broken && rng_chance(&ds->commit_rng, ds->faults.commit_broken))
		return STORE_BROKEN;
	if (ds->faults.commit_full && rng_chance(&ds->commit_rng, ds->faults.commit_full))
		return STORE_FULL;
	return ds->dirty && d->capacity && d->bytes > d->capacity ? STORE_FULL : STORE_OK;
}

static enum store_result sim_commit(struct store *s, bool sync)
{
	struct disk_store *ds = disk_store_of(s);
	struct disk *d = ds->disk;
	take_back(ds);
	d->put = 0;
	bool works = ds->dirty || (sync && d->durable < d->committed);
	if (ds->failed == STORE_OK && works)
		ds->failed = draw_failure(ds);
	if (ds->failed != STORE_OK)
		disk_rollback(d, d->committed);
	else if (ds->dirty)
		d->committed++;
	ds->dirty = false;
	if (ds->failed == STORE_OK && sync) {
		d->durable = d->committed;
		disk_prune(d);
	}
	return ds->failed;
}

static struct store_iterator *sim_iterate(struct store *s, enum store_family family)
{
	struct disk *d = disk_store_of(s)->disk;
	take_back(disk_store_of(s));
	struct store_iterator *it = mem_alloc_zero(sizeof *it);
	it->store = disk_store_of(s);
	it->disk = d;
	it->versions = &d->families[family];
	it->number = d->committed;
	d->iterators++;
	return it;
}

static void sim_tolerate(struct store_iterator *it)
{
	it->tolerant = true;
}

static void sim_iterator_free(struct store_iterator *it)
{
	struct disk *d = it->disk;
	free(it);
	CHECK(d->iterators > 0);
	if (--d->iterators == 0)
		disk_prune(d);
}

static void found_corrupt(struct store_iterator *it)
{
	it->result = STORE_BROKEN;
	it->node = NULL;
	it->store->failed = STORE_BROKEN;
	it->store->damaged = true;
}

/* The value it stands at can't be read, this time. */
static void break_off(struct store_iterator *it)
{
	it->result = STORE_BROKEN;
	it->node = NULL;
	if (!it->tolerant)
		it->store->failed = STORE_BROKEN;
}

/* Drawn once for a walk: whether it breaks off, and how soon. */
static void begin_walk(struct store_iterator *it)
{
	struct disk_store *ds = it->store;
	it->result = STORE_OK;
	it->breaks = 0;
	if (ds->faults.get_broken && rng_chance(&ds->walk_rng, ds->faults.get_broken))
		it->breaks = 1 + rng_below(&ds->walk_rng, BREAKS_WITHIN);
}

/* To the first node from here on that shows a value. */
static void settle(struct store_iterator *it)
{
	for (; it->node; it->node = it->node->next[0]) {
		it->version = node_at(it->node, it->number);
		if (it->version && !it->version->removed)
			break;
	}
	if (!it->node)
		return;
	__builtin_prefetch(it->node->next[0]);
	if (it->version->corrupt)
		found_corrupt(it);
	else if (it->version->unreadable || (it->breaks > 0 && --it->breaks == 0))
		break_off(it);
}

static void sim_seek(struct store_iterator *it, struct slice key)
{
	begin_walk(it);
	it->node = versions_seek(it->versions, key);
	settle(it);
}

static void sim_seek_before(struct store_iterator *it, struct slice key)
{
	struct slice bound = key;
	begin_walk(it);
	it->node = NULL;
	for (;;) {
		const struct node *node = versions_before(it->versions, bound);
		if (!node)
			return;
		it->version = node_at(node, it->number);
		if (it->version && !it->version->removed) {
			it->node = node;
			break;
		}
		bound = node_key(node);
	}
	if (it->version->corrupt)
		found_corrupt(it);
	else if (it->version->unreadable || (it->breaks > 0 && --it->breaks == 0))
		break_off(it);
}

static bool sim_valid(const struct store_iterator *it)
{
	return it->node != NULL;
}

static void sim_next(struct store_iterator *it)
{
	CHECK(it->node);
	it->node = it->node->next[0];
	settle(it);
}

static struct slice sim_key(const struct store_iterator *it)
{
	return node_key(it->node);
}

static struct slice sim_value(const struct store_iterator *it)
{
	return slice_of(it->version->data, it->version->len);
}

static enum store_result sim_iterator_result(const struct store_iterator *it)
{
	return it->result;
}

static void sim_close(struct store *s)
{
	struct disk_store *ds = disk_store_of(s);
	CHECK(ds->disk->iterators == 0);
	disk_rollback(ds->disk, ds->disk->committed);
	ds->disk->opened = false;
	take_back(ds);
	free(ds);
}

static const struct store_ops sim_ops = {
    .get = sim_get,
    .put = sim_put,
    .remove = sim_remove,
    .remove_range = sim_remove_range,
    .dirty = sim_dirty,
    .commit = sim_commit,
    .iterate = sim_iterate,
    .tolerate = sim_tolerate,
    .iterator_free = sim_iterator_free,
    .seek = sim_seek,
    .seek_before = sim_seek_before,
    .valid = sim_valid,
    .next = sim_next,
    .key = sim_key,
    .value = sim_value,
    .iterator_result = sim_iterator_result,
    .close = sim_close,
};

struct store *disk_open(struct disk *d, const struct disk_faults *faults)
{
	CHECK(!d->opened);
	if (d->torn)
		return NULL;
	struct disk_store *ds = mem_alloc_zero(sizeof *ds);
	ds->base.ops = &sim_ops;
	ds->disk = d;
	if (faults)
		ds->faults = *faults;
	struct rng rng;
	rng_init(&rng, ds->faults.seed);
	rng_fork(&rng, &ds->commit_rng);
	rng_fork(&rng, &ds->get_rng);
	rng_fork(&rng, &ds->walk_rng);
	d->opened = true;
	d->durable = d->committed;
	disk_prune(d);
	return &ds->base;
}

bool disk_store_failed(const struct store *store, bool *damaged)
{
	const struct disk_store *ds = (const struct disk_store *)store;
	*damaged = ds->damaged;
	return ds->failed != STORE_OK;
}

void disk_end_faults(struct store *store)
{
	disk_store_of(store)->faults = (struct disk_faults){0};
}
