#include "tests/sim/disk.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/sim/disk_private.h"

struct disk *disk_new(void)
{
	struct disk *d = mem_alloc_zero(sizeof *d);
	for (int f = 0; f < STORE_FAMILIES; f++)
		versions_init(&d->families[f]);
	return d;
}

void disk_free(struct disk *d)
{
	CHECK(!d->opened);
	for (int f = 0; f < STORE_FAMILIES; f++)
		versions_close(&d->families[f]);
	free(d->touched);
	free(d);
}

static uint64_t size_of(const struct node *node, const struct version *version)
{
	return version && !version->removed ? node->key_len + version->len : 0;
}

static void touch(struct disk *d, enum store_family family, struct node *node)
{
	if (d->touched_count == d->touched_cap) {
		d->touched_cap = d->touched_cap ? d->touched_cap * 2 : 64;
		d->touched = mem_realloc(d->touched, d->touched_cap * sizeof *d->touched);
	}
	d->touched[d->touched_count++] = (struct touch){node, node->newest->number, family};
}

/* The node's version of the next commit becomes this one. */
static void set(struct disk *d, enum store_family family, struct node *node,
		const struct slice *value)
{
	struct version *before = node->newest;
	d->bytes -= size_of(node, before);
	node_push(node, d->committed + 1, value);
	d->bytes += size_of(node, node->newest);
	if (!before || before->number <= d->committed) {
		touch(d, family, node);
		return;
	}
	node->newest->older = before->older;
	free(before);
}

void disk_erase(struct disk *d, enum store_family family, struct node *node)
{
	if (node->newest && !node->newest->removed)
		set(d, family, node, NULL);
}

void disk_write(struct disk *d, enum store_family family, struct slice key,
		const struct slice *value)
{
	if (value) {
		set(d, family, versions_insert(&d->families[family], key), value);
		return;
	}
	struct node *node = versions_find(&d->families[family], key);
	if (node)
		disk_erase(d, family, node);
}

void disk_rollback(struct disk *d, uint64_t number)
{
	while (d->touched_count > 0 && d->touched[d->touched_count - 1].number > number) {
		struct touch *t = &d->touched[--d->touched_count];
		CHECK(t->node->newest->number == t->number);
		d->bytes -= size_of(t->node, t->node->newest);
		node_pop(t->node);
		d->bytes += size_of(t->node, t->node->newest);
		if (!t->node->newest && d->iterators == 0)
			versions_drop(&d->families[t->family], t->node);
	}
}

void disk_prune(struct disk *d)
{
	if (d->iterators > 0)
		return;
	size_t done = 0;
	for (; done < d->touched_count && d->touched[done].number <= d->durable; done++) {
		struct touch *t = &d->touched[done];
		struct version *kept = node_at(t->node, d->durable);
		node_trim(kept);
		if (kept->removed && kept == t->node->newest && kept->number == t->number)
			versions_drop(&d->families[t->family], t->node);
	}
	if (done == 0)
		return;
	d->touched_count -= done;
	memmove(d->touched, d->touched + done, d->touched_count * sizeof *d->touched);
}

uint64_t disk_crash(struct disk *d, struct rng *rng)
{
	CHECK(!d->opened);
	uint64_t before = d->committed;
	uint64_t kept = d->durable + rng_below(rng, d->committed - d->durable + 1);
	disk_rollback(d, kept);
	d->committed = kept;
	d->durable = kept;
	disk_prune(d);
	return before - kept;
}

void disk_tear(struct disk *d)
{
	d->torn = true;
}

void disk_wipe(struct disk *d)
{
	CHECK(!d->opened);
	for (int f = 0; f < STORE_FAMILIES; f++) {
		versions_close(&d->families[f]);
		versions_init(&d->families[f]);
	}
	d->committed = 0;
	d->durable = 0;
	d->touched_count = 0;
	d->bytes = 0;
	d->next_commit = STORE_OK;
	d->torn = false;
}

static void copy_family(struct disk *to, const struct disk *from, enum store_family family)
{
	const struct node *node = from->families[family].head->next[0];
	for (; node; node = node->next[0]) {
		const struct version *v = node_at(node, from->committed);
		if (!v || v->removed)
			continue;
		struct slice value = slice_of(v->data, v->len);
		struct node *copy = versions_insert(&to->families[family], node_key(node));
		node_push(copy, from->committed, &value);
		copy->newest->corrupt = v->corrupt;
		copy->newest->unreadable = v->unreadable;
		to->bytes += size_of(copy, copy->newest);
	}
}

void disk_restore(struct disk *d, const struct disk *copy)
{
	disk_wipe(d);
	d->committed = copy->committed;
	d->durable = copy->committed;
	d->torn = copy->torn;
	for (int f = 0; f < STORE_FAMILIES; f++)
		copy_family(d, copy, (enum store_family)f);
}

struct disk *disk_clone(const struct disk *d)
{
	struct disk *copy = disk_new();
	disk_restore(copy, d);
	copy->capacity = d->capacity;
	return copy;
}

void disk_fail_next_commit(struct disk *d, enum store_result result)
{
	CHECK(result == STORE_FULL || result == STORE_BROKEN);
	d->next_commit = result;
}

void disk_set_capacity(struct disk *d, uint64_t bytes)
{
	d->capacity = bytes;
}

uint64_t disk_capacity(const struct disk *d)
{
	return d->capacity;
}

uint64_t disk_used(const struct disk *d)
{
	return d->bytes;
}

static struct version *committed_value(struct disk *d, enum store_family family, struct slice key)
{
	const struct node *node = versions_find(&d->families[family], key);
	struct version *v = node ? node_at(node, d->committed) : NULL;
	return v && !v->removed ? v : NULL;
}

bool disk_corrupt(struct disk *d, enum store_family family, struct slice key)
{
	struct version *v = committed_value(d, family, key);
	if (v)
		v->corrupt = true;
	return v != NULL;
}

bool disk_make_unreadable(struct disk *d, enum store_family family, struct slice key)
{
	struct version *v = committed_value(d, family, key);
	if (v)
		v->unreadable = true;
	return v != NULL;
}

void disk_corrupt_any(struct disk *d, struct rng *rng)
{
	struct version *chosen = NULL;
	uint64_t seen = 0;
	for (int f = 0; f < STORE_FAMILIES; f++)
		for (struct node *n = d->families[f].head->next[0]; n; n = n->next[0]) {
			struct version *v = node_at(n, d->committed);
			if (v && !v->removed && rng_below(rng, ++seen) == 0)
				chosen = v;
		}
	if (chosen)
		chosen->corrupt = true;
}

/* What is known of its bytes: they have changed. */
static void forget(struct version *v)
{
	v->digest = 0;
	v->visited = false;
}

bool disk_flip_any(struct disk *d, struct slice prefix, struct rng *rng, enum store_family *family,
		   struct buf *key)
{
	static const enum store_family families[] = {STORE_DOCUMENTS, STORE_CONFLICTS,
						     STORE_ATTACHMENTS};
	struct key_prefix under = key_prefix_of(prefix);
	struct version *chosen = NULL;
	uint64_t seen = 0;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct node *n = versions_seek(&d->families[families[f]], prefix);
		for (; n && node_is_under(n, &under); n = n->next[0]) {
			struct version *v = node_at(n, d->committed);
			if (!v || v->removed || v->len == 0 || rng_below(rng, ++seen) != 0)
				continue;
			chosen = v;
			*family = families[f];
			buf_clear(key);
			buf_append_slice(key, node_key(n));
		}
	}
	if (chosen) {
		uint8_t flipped = (uint8_t)(1u << rng_below(rng, 8));
		chosen->data[rng_below(rng, chosen->len)] ^= flipped;
		forget(chosen);
	}
	return chosen != NULL;
}

bool disk_garble(struct disk *d, enum store_family family, struct slice key, size_t at)
{
	const struct node *node = versions_find(&d->families[family], key);
	struct version *v = node ? node_at(node, d->committed) : NULL;
	if (!v || v->removed || v->len <= at)
		return false;
	v->data[at] = 0xc1; /* means nothing in MessagePack */
	forget(v);
	return true;
}

struct walk {
	const struct disk *disk;
	struct key_prefix prefix;
	const struct node *node; /* NULL: at the end */
	struct version *version; /* that it shows */
};

static bool walk_next(struct walk *w, const struct node *from)
{
	for (w->node = from; w->node; w->node = w->node->next[0]) {
		if (!node_is_under(w->node, &w->prefix))
			break;
		__builtin_prefetch(w->node->next[0]);
		w->version = node_at(w->node, w->disk->committed);
		if (w->version && !w->version->removed)
			return true;
	}
	w->node = NULL;
	return false;
}

/* for (bool more = walk_begin(...); more; more = walk_next(&w, w.node->next[0])) */
static bool walk_begin(struct walk *w, const struct disk *d, enum store_family family,
		       struct slice prefix)
{
	*w = (struct walk){.disk = d, .prefix = key_prefix_of(prefix)};
	return walk_next(w, versions_seek(&d->families[family], prefix));
}

void disk_walk(const struct disk *d, enum store_family family, struct slice prefix,
	       disk_visit *visit, void *context)
{
	struct walk w;
	for (bool more = walk_begin(&w, d, family, prefix); more;
	     more = walk_next(&w, w.node->next[0]))
		visit(context, node_key(w.node), slice_of(w.version->data, w.version->len));
}

void disk_walk_new(const struct disk *d, enum store_family family, struct slice prefix,
		   disk_visit *visit, void *context)
{
	struct walk w;
	for (bool more = walk_begin(&w, d, family, prefix); more;
	     more = walk_next(&w, w.node->next[0])) {
		if (w.version->visited)
			continue;
		w.version->visited = true;
		visit(context, node_key(w.node), slice_of(w.version->data, w.version->len));
	}
}

uint64_t disk_count(const struct disk *d, enum store_family family, struct slice prefix)
{
	uint64_t count = 0;
	struct walk w;
	for (bool more = walk_begin(&w, d, family, prefix); more;
	     more = walk_next(&w, w.node->next[0]))
		count++;
	return count;
}

bool disk_get(const struct disk *d, enum store_family family, struct slice key, struct slice *value)
{
	const struct node *node = versions_find(&d->families[family], key);
	const struct version *v = node ? node_at(node, d->committed) : NULL;
	if (!v || v->removed)
		return false;
	*value = slice_of(v->data, v->len);
	return true;
}

static uint64_t digest_of_pair(const struct node *node, struct version *v)
{
	if (v->digest == 0)
		v->digest =
		    XXH3_64bits_withSeed(v->data, v->len, XXH3_64bits(node->key, node->key_len)) |
		    1;
	return v->digest;
}

/* Keys come in one order, so the pairs can be added up. */
uint64_t disk_digest(const struct disk *d, enum store_family family, struct slice prefix)
{
	uint64_t digest = 0;
	struct walk w;
	for (bool more = walk_begin(&w, d, family, prefix); more;
	     more = walk_next(&w, w.node->next[0]))
		digest += digest_of_pair(w.node, w.version);
	return digest;
}

uint64_t disk_put_max(const struct disk *d)
{
	return d->put_max;
}

uint64_t disk_commits(const struct disk *d)
{
	return d->committed;
}

uint64_t disk_commits_durable(const struct disk *d)
{
	return d->durable;
}
