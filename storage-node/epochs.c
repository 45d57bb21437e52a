#include "storage-node/epochs.h"

#include "storage-node/digest.h"

static void load(struct storage *s, struct shard_copy *c, struct epoch_starts *out)
{
	struct slice value;
	if (store_get(s->store, STORE_CONFLICTS, key_epochs(&s->key, c->id), &value) != STORE_OK ||
	    !schema_decode(&schema_epoch_starts, arena_copy(&s->arena, value), &s->arena, out))
		*out = (struct epoch_starts){0};
}

void epochs_apply(struct storage *s, struct shard_copy *c, uint64_t number)
{
	const struct pending *p = ring_at(&c->pending, number);
	struct epoch_starts known;
	if (!p)
		return;
	load(s, c, &known);
	uint32_t skip = known.starts_count >= LIMIT_EPOCH_STARTS ? 1 : 0;
	struct position *starts = arena_alloc(&s->arena, (known.starts_count + 1) * sizeof *starts);
	struct epoch_starts now = {.starts = starts};
	for (uint32_t i = skip; i < known.starts_count; i++)
		starts[now.starts_count++] = known.starts[i];
	starts[now.starts_count++] = (struct position){.epoch = p->epoch, .number = number};
	buf_clear(&s->value);
	schema_encode(&schema_epoch_starts, &now, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_epochs(&s->key, c->id), buf_slice(&s->value));
}

bool epochs_applied(struct storage *s, struct shard_copy *c, const struct position *entry)
{
	struct epoch_starts known;
	uint64_t epoch;
	if (entry->number == 0 || entry->number > c->position.applied)
		return false;
	if (stream_epoch_at(s, c, entry->number, &epoch))
		return epoch == entry->epoch;
	load(s, c, &known);
	const struct position *last = NULL; /* of those that begin there or before */
	for (uint32_t i = 0; i < known.starts_count; i++)
		if (known.starts[i].number <= entry->number)
			last = &known.starts[i];
	return last && last->epoch == entry->epoch;
}
