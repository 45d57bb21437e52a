#include "storage-node/refusals.h"

#include "storage-node/internal.h"

enum { PAIR_KEY_BYTES = 9 /* 'r' and the number */ };

static void put(struct storage *s, const struct shard_copy *c, uint64_t number,
		struct slice encoded)
{
	store_put(s->store, STORE_META, key_number(&s->key, 'r', c->id, number), encoded);
}

void refusal_keep(struct storage *s, struct shard_copy *c, uint64_t number,
		  const struct change *change, struct slice encoded)
{
	const struct recent *r = recent_refusal(c, change->operation_id);
	if (r && r->number == number)
		put(s, c, number, encoded);
}

void refusal_forget(struct storage *s, struct shard_copy *c, uint64_t number)
{
	store_remove(s->store, STORE_META, key_number(&s->key, 'r', c->id, number));
}

static bool take(struct storage *s, struct shard_copy *c, uint64_t number, struct slice encoded)
{
	struct arena_mark mark = arena_mark(&s->arena);
	struct change change;
	bool good =
	    schema_decode(&schema_change, arena_copy(&s->arena, encoded), &s->arena, &change) &&
	    change.kind == CHANGE_REFUSAL;
	if (good)
		recent_entry(s, c, number, 0, &change);
	arena_rewind(&s->arena, mark);
	return good;
}

/* Does the iterator stand at one of this shard? */
static bool at_refusal(struct storage *s, const struct shard_copy *c, struct store_iterator *it,
		       uint64_t *number)
{
	if (!store_valid(s->store, it))
		return false;
	struct slice key = store_key(s->store, it);
	if (key.len != KEY_SHARD_BYTES + 8 || key.data[0] != 'r' ||
	    be64_read(key.data + 1) != c->id)
		return false;
	*number = be64_read(key.data + KEY_SHARD_BYTES);
	return true;
}

void refusals_load(struct storage *s, struct shard_copy *c)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	uint64_t number;
	for (store_seek(s->store, it, key_shard(&s->key, 'r', c->id));
	     at_refusal(s, c, it, &number); store_next(s->store, it))
		if (number > c->position.applied || !take(s, c, number, store_value(s->store, it)))
			refusal_forget(s, c, number);
	store_iterator_free(s->store, it);
}

uint32_t refusals_pairs(struct storage *s, const struct shard_copy *c, struct arena *arena,
			struct key_value *out, uint32_t max)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	uint32_t known = c->recents.refused.by_id.count;
	uint32_t left_out = known > max ? known - max : 0;
	uint32_t count = 0;
	uint64_t number;
	for (store_seek(s->store, it, key_shard(&s->key, 'r', c->id));
	     count < max && at_refusal(s, c, it, &number); store_next(s->store, it)) {
		if (left_out > 0) {
			left_out--;
			continue;
		}
		uint8_t key[PAIR_KEY_BYTES] = {'r'};
		be64_write(key + 1, number);
		out[count++] =
		    (struct key_value){.family = STORE_META,
				       .key = arena_copy(arena, slice_of(key, sizeof key)),
				       .value = arena_copy(arena, store_value(s->store, it))};
	}
	store_iterator_free(s->store, it);
	return count;
}

bool refusals_take_pair(struct storage *s, struct shard_copy *c, const struct key_value *pair)
{
	if (pair->family != STORE_META || pair->key.len != PAIR_KEY_BYTES ||
	    pair->key.data[0] != 'r')
		return false;
	uint64_t number = be64_read(pair->key.data + 1);
	if (take(s, c, number, pair->value))
		put(s, c, number, pair->value);
	return true;
}
