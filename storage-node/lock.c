/* The table of a shard's locks: what is held as applied, and what is appended and not settled yet.
 */
#include "storage-node/lock.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/probe.h"
#include "storage-node/digest.h"
#include "storage-node/lock_table.h"

static struct lock_table *table_of(struct shard_copy *c)
{
	if (c->locks)
		return c->locks;
	c->locks = mem_alloc_zero(sizeof *c->locks);
	/* clients choose document ids; the shard's id is random, and none of theirs to know */
	c->locks->by_document.seed = c->id;
	return c->locks;
}

uint64_t lock_count(const struct shard_copy *c)
{
	return c->locks ? c->locks->by_id.count : 0;
}

/* ---- rows ---- */

static struct lock_paths *paths_of(struct lock_table *t, struct slice document)
{
	struct lock_paths *list = document.len ? map_get(&t->by_document, document) : &t->whole;
	if (list)
		return list;
	list = mem_alloc_zero(sizeof *list);
	map_put(&t->by_document, document, list);
	return list;
}

static void paths_add(struct lock_table *t, struct held_lock *lock)
{
	for (uint32_t i = 0; i < lock->what.paths_count; i++) {
		struct lock_paths *list = paths_of(t, lock->what.paths[i].document);
		if (list->count == list->cap) {
			list->cap = list->cap ? list->cap * 2 : 4;
			list->items = mem_realloc(list->items, list->cap * sizeof *list->items);
		}
		list->items[list->count++] = (struct held_path){lock, lock->what.paths[i].field};
	}
}

static void paths_remove(struct lock_table *t, const struct held_lock *lock)
{
	for (uint32_t i = 0; i < lock->what.paths_count; i++) {
		struct slice document = lock->what.paths[i].document;
		struct lock_paths *list =
		    document.len ? map_get(&t->by_document, document) : &t->whole;
		uint32_t kept = 0;
		for (uint32_t k = 0; list && k < list->count; k++)
			if (list->items[k].lock != lock)
				list->items[kept++] = list->items[k];
		if (list)
			list->count = kept;
		if (!list || kept > 0 || document.len == 0)
			continue;
		map_remove(&t->by_document, document);
		free(list->items);
		free(list);
	}
}

static void lock_drop(struct lock_table *t, struct held_lock *lock)
{
	paths_remove(t, lock);
	map_remove(&t->by_id, slice_of(lock->id, sizeof lock->id));
	arena_close(&lock->arena);
	free(lock);
}

/* The row of this lock, made if there is none. */
static struct held_lock *lock_row(struct shard_copy *c, const struct shard_lock *what)
{
	struct lock_table *t = table_of(c);
	struct held_lock *lock = map_get(&t->by_id, what->id);
	if (lock)
		return lock;
	lock = mem_alloc_zero(sizeof *lock);
	memcpy(lock->id, what->id.data, sizeof lock->id);
	struct buf bytes = {0};
	schema_encode(&schema_shard_lock, what, &bytes);
	struct slice copy = arena_copy(&lock->arena, buf_slice(&bytes));
	buf_close(&bytes);
	CHECK(schema_decode(&schema_shard_lock, copy, &lock->arena, &lock->what));
	map_put(&t->by_id, what->id, lock);
	paths_add(t, lock);
	return lock;
}

/* What the coordinator, a peer or a disk says can be decoded; it must also make sense. */
static bool makes_sense(const struct shard_lock *what)
{
	if (what->id.len != LOCK_ID_BYTES || what->token == 0)
		return false;
	for (uint32_t i = 0; i < what->paths_count; i++) {
		const struct lock_path *p = &what->paths[i];
		if (p->document.len > 0 ? !document_id_ok(p->document) : p->field.len > 0)
			return false;
	}
	return true;
}

/* ---- applying ---- */

static void apply_lock(struct storage *s, struct shard_copy *c, uint64_t number,
		       const struct shard_lock *what)
{
	struct held_lock *lock = lock_row(c, what);
	lock->applied = what->token;
	if (lock->token < what->token)
		lock->token = what->token;
	if (lock->number == number)
		lock->number = 0;
	buf_clear(&s->value);
	schema_encode(&schema_shard_lock, what, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_lock(&s->key, c->id, what->id), buf_slice(&s->value));
}

static void apply_unlock(struct storage *s, struct shard_copy *c, uint64_t number,
			 const struct shard_lock *what)
{
	struct held_lock *lock = c->locks ? map_get(&c->locks->by_id, what->id) : NULL;
	if (!lock || lock->applied == 0 || lock->applied > what->token)
		return;
	digest_remove(s, c, STORE_CONFLICTS, key_lock(&s->key, c->id, what->id));
	lock->applied = 0;
	if (lock->unlock == number)
		lock->unlock = 0;
	if (lock->number == 0)
		lock_drop(c->locks, lock);
}

void lock_apply(struct storage *s, struct shard_copy *c, uint64_t number,
		const struct change *change)
{
	if (change->locks_count == 0 || !makes_sense(&change->locks[0]))
		return;
	const struct shard_lock *what = &change->locks[0];
	if (change->kind == CHANGE_LOCK)
		apply_lock(s, c, number, what);
	else
		apply_unlock(s, c, number, what);
	if (what->token > c->position.lock_token)
		c->position.lock_token = what->token;
}

void lock_cut(struct shard_copy *c, uint64_t after)
{
	size_t at = 0;
	if (!c->locks)
		return;
	for (struct map_entry *entry; (entry = map_next(&c->locks->by_id, &at));) {
		struct held_lock *lock = entry->value;
		if (lock->unlock > after)
			lock->unlock = 0;
		if (lock->number <= after)
			continue;
		lock->number = 0;
		lock->token = lock->applied;
		if (lock->applied == 0)
			lock_drop(c->locks, lock);
	}
}

/* ---- on disk, in snapshots ---- */

static bool load_row(struct shard_copy *c, struct slice value)
{
	struct arena arena = {0};
	struct shard_lock what;
	bool ok = schema_decode(&schema_shard_lock, value, &arena, &what) && makes_sense(&what);
	if (ok) {
		struct held_lock *lock = lock_row(c, &what);
		lock->applied = lock->token = what.token;
	}
	arena_close(&arena);
	return ok;
}

bool lock_load(struct storage *s, struct shard_copy *c)
{
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	uint8_t prefix[KEY_LOCK_BYTES];
	memcpy(prefix, key_lock(&s->key, c->id, slice_of(NULL, 0)).data, sizeof prefix);
	bool ok = true;
	for (store_seek(s->store, it, slice_of(prefix, sizeof prefix));
	     ok && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len < sizeof prefix || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		ok = load_row(c, store_value(s->store, it));
	}
	ok = ok && store_iterator_result(s->store, it) == STORE_OK;
	store_iterator_free(s->store, it);
	return ok;
}

void lock_copied(struct shard_copy *c, struct slice key, struct slice value)
{
	/* the key without its shard, as snapshots carry it */
	if (key.len == KEY_LOCK_BYTES - KEY_SHARD_BYTES + LOCK_ID_BYTES && key.data[0] == 0 &&
	    key.data[1] == 'l')
		(void)load_row(c, value);
}

void lock_clear(struct shard_copy *c)
{
	size_t at = 0;
	if (!c->locks)
		return;
	for (struct map_entry *entry; (entry = map_next(&c->locks->by_id, &at));)
		lock_drop(c->locks, entry->value);
}

void lock_free(struct shard_copy *c)
{
	if (!c->locks)
		return;
	lock_clear(c);
	map_close(&c->locks->by_id);
	map_close(&c->locks->by_document);
	free(c->locks->whole.items);
	free(c->locks);
	c->locks = NULL;
}

/* ---- from the coordinator ---- */

static uint64_t greatest_of(const struct shard_copy *c)
{
	uint64_t appended = c->locks ? c->locks->greatest : 0;
	return appended > c->position.lock_token ? appended : c->position.lock_token;
}

uint64_t lock_greatest(const struct storage *s)
{
	uint64_t greatest = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		if (greatest_of(entry->value) > greatest)
			greatest = greatest_of(entry->value);
	return greatest;
}

static void answer(struct shard_copy *c, const struct event *e, enum status status,
		   struct effects *fx)
{
	const struct msg_lock_set *m = e->message.body;
	struct msg_lock_set_ack ack = {.status = status,
				       .shard = m->shard,
				       .id = m->lock.id,
				       .release = m->release,
				       .token = m->lock.token};
	if (c)
		ack.greatest = greatest_of(c);
	fx_reply(fx, WHEN_NOW, e, MSG_lock_set_ack, &ack);
}

static void answer_when_applied(struct shard_copy *c, const struct event *e, uint64_t number,
				struct effects *fx)
{
	const struct msg_lock_set *m = e->message.body;
	struct msg_lock_set_ack ack = {.status = STATUS_OK,
				       .shard = m->shard,
				       .id = m->lock.id,
				       .release = m->release,
				       .token = m->lock.token};
	bool full = waiters_full(c);
	if (full && ring_at(&c->pending, number))
		return;
	if (!waiter_await(c, e, number, MSG_lock_set_ack, &ack))
		answer(c, e, STATUS_OK, fx);
}

static uint64_t append(struct storage *s, struct shard_copy *c, enum change_kind kind,
		       const struct msg_lock_set *m, struct effects *fx)
{
	struct lock_table *t = table_of(c);
	struct shard_lock what = m->lock;
	struct change change = {
	    .kind = kind, .locks = &what, .locks_count = 1, .wall_ms = (uint64_t)s->wall_ms};
	if (kind == CHANGE_UNLOCK)
		what.paths_count = 0;
	if (what.token > t->greatest)
		t->greatest = what.token;
	return stream_append_change(s, c, &change, fx);
}

static void grant(struct storage *s, struct shard_copy *c, const struct event *e,
		  struct effects *fx)
{
	const struct msg_lock_set *m = e->message.body;
	struct lock_table *t = table_of(c);
	struct held_lock *lock = map_get(&t->by_id, m->lock.id);
	bool known = lock && lock->token == m->lock.token && lock->unlock == 0;
	if (known) {
		answer_when_applied(c, e, lock->number, fx);
		return;
	}
	if (lock ? lock->token >= m->lock.token : m->lock.token <= greatest_of(c)) {
		answer(c, e, STATUS_LOCK_LOST, fx);
		return;
	}
	if (t->by_id.count >= BOUND(locks_kept, LOCKS_KEPT_MAX)) {
		answer(c, e, STATUS_OVERLOADED, fx);
		return;
	}
	lock = lock_row(c, &m->lock);
	lock->token = m->lock.token;
	lock->number = append(s, c, CHANGE_LOCK, m, fx);
	answer_when_applied(c, e, lock->number, fx);
}

/* The release of a lock that never came is ordered too: else its grant might come yet. */
static void release(struct storage *s, struct shard_copy *c, const struct event *e,
		    struct effects *fx)
{
	const struct msg_lock_set *m = e->message.body;
	struct lock_table *t = table_of(c);
	struct held_lock *lock = map_get(&t->by_id, m->lock.id);
	if (lock && lock->token > m->lock.token)
		lock = NULL; /* granted anew since */
	if (lock && lock->unlock > 0) {
		answer_when_applied(c, e, lock->unlock, fx);
		return;
	}
	if (!lock && m->lock.token <= c->position.lock_token) {
		answer(c, e, STATUS_OK, fx);
		return;
	}
	uint64_t number = append(s, c, CHANGE_UNLOCK, m, fx);
	if (lock)
		lock->unlock = number;
	answer_when_applied(c, e, number, fx);
}

static enum status refuses(const struct storage *s, const struct shard_copy *c,
			   const struct event *e)
{
	const struct msg_lock_set *m = e->message.body;
	if (!c)
		return STATUS_NO_SHARD;
	if (!makes_sense(&m->lock))
		return STATUS_BAD_MESSAGE;
	if (e->message.envelope.epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || e->message.envelope.epoch != c->lead_epoch)
		return STATUS_NOT_LEAD;
	if (s->disk_full && !m->release)
		return STATUS_DISK_FULL;
	return stream_has_room(s, c) ? STATUS_OK : STATUS_OVERLOADED;
}

void lock_on_set(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_lock_set *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = refuses(s, c, e);
	if (status != STATUS_OK)
		answer(c, e, status, fx);
	else if (m->release)
		release(s, c, e, fx);
	else
		grant(s, c, e, fx);
}

static void tell(struct storage *s, struct shard_copy *c, const struct held_lock *lock,
		 struct effects *fx)
{
	struct msg_lock_set_ack ack = {.status = STATUS_OK,
				       .shard = c->id,
				       .id = slice_of(lock->id, sizeof lock->id),
				       .token = lock->applied,
				       .greatest = c->position.lock_token};
	struct envelope envelope = {.type = MSG_lock_set_ack, .epoch = c->lead_epoch};
	fx_send(fx, WHEN_NOW, s->options.coordinator, 0, &envelope, &ack);
}

/* A coordinator that lost its disk does not know what to release. */
void lock_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct lock_table *t = c->locks;
	if (!t)
		return;
	if (t->by_id.count == 0 || c->state != SHARD_SERVING || s->now_ms < t->tell_ms)
		return;
	t->tell_ms = s->now_ms + LOCK_TELL_MS;
	for (uint32_t told = 0; told < BOUND(locks_told, LOCK_TELL_MAX); told++) {
		struct map_entry *entry = map_next(&t->by_id, &t->tell_at);
		if (!entry) {
			t->tell_at = 0;
			return;
		}
		const struct held_lock *lock = entry->value;
		if (lock->applied && !lock->unlock)
			tell(s, c, lock, fx);
	}
}
