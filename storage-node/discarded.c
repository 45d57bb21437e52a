#include "storage-node/discarded.h"

void discarded_keep(struct storage *s, const struct shard_copy *c, uint64_t number,
		    const struct pending *p)
{
	buf_clear(&s->value);
	buf_append_be64(&s->value, p->epoch);
	buf_append_slice(&s->value, p->change);
	store_put(s->store, STORE_STREAM,
		  key_discarded(&s->key, c->id, (uint64_t)s->wall_ms, number),
		  buf_slice(&s->value));
	s->discarded_total++;
}

static bool at_one(struct storage *s, const struct shard_copy *c, struct store_iterator *it)
{
	if (!store_valid(s->store, it))
		return false;
	struct slice key = store_key(s->store, it);
	return key.len > KEY_SHARD_BYTES && key.data[0] == 'z' && be64_read(key.data + 1) == c->id;
}

/* From the newest back to the first that is too much: that one goes, and all before it. */
void discarded_trim(struct storage *s, const struct shard_copy *c)
{
	struct buf at = {0};
	uint64_t count = 0;
	uint64_t bytes = 0;
	struct store_iterator *it = store_iterate(s->store, STORE_STREAM);
	store_seek_before(s->store, it, key_shard_end(&at, 'z', c->id));
	while (at_one(s, c, it)) {
		bytes += store_value(s->store, it).len;
		buf_clear(&at);
		buf_append_slice(&at, store_key(s->store, it));
		if (++count > DISCARDED_MAX || bytes > DISCARDED_BYTES_MAX) {
			buf_append_byte(&at, 0);
			store_remove_range(s->store, STORE_STREAM, key_shard(&s->key, 'z', c->id),
					   buf_slice(&at));
			break;
		}
		store_seek_before(s->store, it, buf_slice(&at));
	}
	store_iterator_free(s->store, it);
	buf_close(&at);
}
