#include "storage-node/sequence.h"

/* ---- keeping it ---- */

static struct slice encode(struct storage *s, struct slice id)
{
	struct latest latest = {.id = id};
	buf_clear(&s->value);
	schema_encode(&schema_latest, &latest, &s->value);
	return buf_slice(&s->value);
}

void sequence_move(struct storage *s, struct shard_copy *c, struct slice id, uint64_t before,
		   uint64_t after)
{
	struct slice value = encode(s, id);
	const struct slice nothing = {0};
	if (before > 0)
		digest_remove_known(s, c, STORE_CONFLICTS, key_latest(&s->key, c->id, before),
				    value);
	if (after > 0)
		digest_replace(s, c, STORE_CONFLICTS, key_latest(&s->key, c->id, after), nothing,
			       value);
}

/* ---- reading it ---- */

void sequence_open(struct sequence_scan *scan, struct storage *s, const struct shard_copy *c,
		   uint64_t after, uint64_t until, bool descending)
{
	*scan = (struct sequence_scan){.store = s->store,
				       .it = store_iterate(s->store, STORE_CONFLICTS),
				       .arena = &s->arena,
				       .shard = c->id,
				       .after = after,
				       .until = until < c->committed ? until : c->committed,
				       .descending = descending};
}

static void move(struct sequence_scan *scan)
{
	if (scan->started && !scan->descending) {
		store_next(scan->store, scan->it);
	} else if (scan->descending) {
		uint64_t before = scan->started ? scan->passed : scan->until + 1;
		store_seek_before(scan->store, scan->it,
				  key_latest(&scan->key, scan->shard, before));
	} else {
		store_seek(scan->store, scan->it,
			   key_latest(&scan->key, scan->shard, scan->after + 1));
	}
	scan->started = true;
}

/* On a key of this shard, between the bounds? */
static bool inside(struct sequence_scan *scan)
{
	if (!store_valid(scan->store, scan->it)) {
		scan->broken = store_iterator_result(scan->store, scan->it) != STORE_OK;
		return false;
	}
	struct slice key = store_key(scan->store, scan->it);
	struct slice own = key_latest(&scan->key, scan->shard, 0);
	if (key.len != own.len || memcmp(key.data, own.data, KEY_BESIDE_BYTES) != 0)
		return false;
	scan->passed = be64_read(key.data + KEY_BESIDE_BYTES);
	return scan->passed > scan->after && scan->passed <= scan->until;
}

bool sequence_skip(struct sequence_scan *scan)
{
	if (scan->after >= scan->until)
		return false;
	move(scan);
	return inside(scan);
}

bool sequence_next(struct sequence_scan *scan, struct sequence_row *row)
{
	struct latest latest;
	if (!sequence_skip(scan))
		return false;
	struct slice value = arena_copy(scan->arena, store_value(scan->store, scan->it));
	scan->broken = !schema_decode(&schema_latest, value, scan->arena, &latest);
	*row = (struct sequence_row){.number = scan->passed, .id = latest.id};
	return !scan->broken;
}

void sequence_close(struct sequence_scan *scan)
{
	store_iterator_free(scan->store, scan->it);
	buf_close(&scan->key);
}

uint64_t sequence_last(struct storage *s, const struct shard_copy *c)
{
	struct sequence_scan scan;
	sequence_open(&scan, s, c, 0, UINT64_MAX, true);
	bool found = sequence_skip(&scan);
	uint64_t last = found ? scan.passed : 0;
	sequence_close(&scan);
	return last;
}
