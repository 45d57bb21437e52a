#include "storage-node/history.h"

#include "common/doc/detail.h"
#include "storage-node/digest.h"

enum { HISTORY_LIST_DEFAULT = 100, HISTORY_LIST_BYTES = 1024 * 1024 };

static bool load(struct storage *s, struct shard_copy *c, uint64_t sequence, struct conflict *out)
{
	struct slice value;
	return store_get(s->store, STORE_CONFLICTS, key_history(&s->key, c->id, sequence),
			 &value) == STORE_OK &&
	       schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, out);
}

static bool is_old(struct storage *s, struct shard_copy *c, uint64_t now_ms)
{
	const struct shard_position *p = &c->position;
	const uint64_t keep_ms = HISTORY_KEEP_DAYS * 24ull * 3600 * 1000;
	struct conflict oldest;
	if (p->history_next - p->history_first > HISTORY_RECORDS_MAX)
		return true;
	return load(s, c, p->history_first, &oldest) && oldest.resolved_ms + keep_ms < now_ms;
}

static void trim(struct storage *s, struct shard_copy *c, uint64_t now_ms)
{
	struct shard_position *p = &c->position;
	for (int i = 0; i < HISTORY_TRIM_MAX && p->history_first < p->history_next; i++) {
		if (!is_old(s, c, now_ms))
			return;
		digest_remove(s, c, STORE_CONFLICTS, key_history(&s->key, c->id, p->history_first));
		p->history_first++;
	}
}

void history_add(struct storage *s, struct shard_copy *c, const struct change *change,
		 const struct conflict *entry, bool undone)
{
	struct shard_position *p = &c->position;
	struct conflict record = *entry;
	record.state = CONFLICT_RESOLVED;
	record.id = change->id;
	record.sequence = p->history_next++;
	record.undone = undone;
	record.resolved_ms = change->wall_ms;
	record.pinned_count = 0;
	if (record.leaves_count > HISTORY_LEAVES_MAX) {
		record.leaves_all = record.leaves_count;
		record.leaves_count = HISTORY_LEAVES_MAX;
	}
	struct buf detail = {0};
	if (change->detail.len > 0)
		detail_cut(change->detail, HISTORY_DETAIL_BYTES_MAX, &detail);
	record.detail = buf_slice(&detail);
	buf_clear(&s->value);
	schema_encode(&schema_conflict, &record, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_history(&s->key, c->id, record.sequence),
		   buf_slice(&s->value));
	buf_close(&detail);
	trim(s, c, change->wall_ms);
}

void history_list(struct storage *s, struct shard_copy *c, const struct msg_conflict_list *m,
		  struct msg_conflict_list_ack *ack)
{
	const struct shard_position *p = &c->position;
	uint64_t limit = m->limit ? m->limit : HISTORY_LIST_DEFAULT;
	uint64_t next = m->before > 0 && m->before < p->history_next ? m->before : p->history_next;
	size_t bytes = 0;
	ack->rows = arena_alloc(&s->arena, (limit + 1) * sizeof *ack->rows);
	for (; next > p->history_first && ack->rows_count < limit; next--) {
		struct conflict_row *row = &ack->rows[ack->rows_count];
		if (bytes > HISTORY_LIST_BYTES)
			break;
		if (!load(s, c, next - 1, &row->conflict))
			continue;
		row->id = row->conflict.id;
		bytes += row->id.len + row->conflict.detail.len +
			 row->conflict.leaves_count * sizeof *row->conflict.leaves;
		ack->rows_count++;
	}
	ack->more = next > p->history_first;
}
