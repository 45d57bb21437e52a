#include "storage-node/digest.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "storage-node/internal.h"

const enum store_family digest_families[DIGEST_FAMILIES] = {STORE_DOCUMENTS, STORE_CONFLICTS,
							    STORE_ATTACHMENTS};

uint64_t digest_pair(enum store_family family, struct slice key, struct slice value)
{
	uint64_t seed = XXH3_64bits_withSeed(key.data, key.len, (uint64_t)family);
	return XXH3_64bits_withSeed(value.data, value.len, seed);
}

void digest_replace(struct storage *s, struct shard_copy *c, enum store_family family,
		    struct slice key, struct slice before, struct slice value)
{
	if (before.len > 0)
		c->position.digest -= digest_pair(family, key, before);
	c->position.digest += digest_pair(family, key, value);
	store_put(s->store, family, key, value);
}

void digest_put(struct storage *s, struct shard_copy *c, enum store_family family, struct slice key,
		struct slice value)
{
	struct slice before;
	if (store_get(s->store, family, key, &before) != STORE_OK)
		before = (struct slice){0};
	digest_replace(s, c, family, key, before, value);
}

void digest_remove(struct storage *s, struct shard_copy *c, enum store_family family,
		   struct slice key)
{
	struct slice before;
	if (store_get(s->store, family, key, &before) == STORE_OK && !MUTATION(digest_of_removed))
		c->position.digest -= digest_pair(family, key, before);
	store_remove(s->store, family, key);
}

void digest_remove_known(struct storage *s, struct shard_copy *c, enum store_family family,
			 struct slice key, struct slice value)
{
	c->position.digest -= digest_pair(family, key, value);
	store_remove(s->store, family, key);
}

void digest_mark(struct shard_copy *c)
{
	uint64_t number = c->position.applied;
	if (number % DIGEST_EVERY != 0 || !c->position.digested)
		return;
	if (!c->integrity.marks)
		c->integrity.marks = mem_alloc_zero(DIGEST_MARKS * sizeof *c->integrity.marks);
	c->integrity.marks[number / DIGEST_EVERY % DIGEST_MARKS] =
	    (struct digest_mark){number, c->position.digest};
}

bool digest_at(const struct shard_copy *c, uint64_t number, uint64_t *digest)
{
	*digest = c->position.digest;
	if (!c->position.digested || c->position.copying || number == 0)
		return false;
	if (number == c->position.applied)
		return true;
	if (!c->integrity.marks || number % DIGEST_EVERY != 0)
		return false;
	const struct digest_mark *mark = &c->integrity.marks[number / DIGEST_EVERY % DIGEST_MARKS];
	*digest = mark->digest;
	return mark->number == number;
}

void digest_forget(struct shard_copy *c)
{
	free(c->integrity.marks);
	c->integrity = (struct shard_integrity){0};
}
