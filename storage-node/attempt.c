#include "storage-node/attempt.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/memory.h"
#include "storage-node/internal.h"

/* One operation may be tried several times, each of which may be sent several times. */
static void make_key(const struct msg_doc_write *m, uint8_t key[ATTEMPT_KEY_BYTES])
{
	memcpy(key, m->operation_id.data, ATTEMPT_KEY_BYTES);
	be64_write(key, be64_read(key) ^ m->attempt);
}

void attempt_refused(const struct storage *s, struct shard_copy *c, const struct msg_doc_write *m,
		     enum status status)
{
	struct refused_attempts *t = &c->attempts;
	if (!t->ring)
		t->ring = mem_alloc_zero(ATTEMPTS_MAX * sizeof *t->ring);
	struct refused_attempt *a = &t->ring[t->next++ % ATTEMPTS_MAX];
	if (a->until_ms && map_get(&t->by_key, slice_of(a->key, sizeof a->key)) == a)
		map_remove(&t->by_key, slice_of(a->key, sizeof a->key));
	make_key(m, a->key);
	a->status = status;
	a->until_ms = s->now_ms + RECENT_KEEP_MS;
	t->until_ms = a->until_ms;
	map_put(&t->by_key, slice_of(a->key, sizeof a->key), a);
}

enum status attempt_status(const struct storage *s, const struct shard_copy *c,
			   const struct msg_doc_write *m)
{
	uint8_t key[ATTEMPT_KEY_BYTES];
	if (c->attempts.by_key.count == 0)
		return STATUS_OK;
	make_key(m, key);
	const struct refused_attempt *a = map_get(&c->attempts.by_key, slice_of(key, sizeof key));
	return a && s->now_ms < a->until_ms ? a->status : STATUS_OK;
}

void attempt_tick(const struct storage *s, struct shard_copy *c)
{
	if (c->attempts.ring && s->now_ms >= c->attempts.until_ms)
		attempt_clear(c);
}

void attempt_clear(struct shard_copy *c)
{
	map_close(&c->attempts.by_key);
	free(c->attempts.ring);
	c->attempts.ring = NULL;
	c->attempts.next = 0;
}
