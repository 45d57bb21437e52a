/* Rows of locks, in memory and on disk, and as people see them. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/shard_hash.h"
#include "coordinator/lock_rows.h"
#include "coordinator/state.h"
#include "proto/msgpack.h"

enum { KEY_LOCK_BYTES = 1 + LOCK_ID_BYTES };

static const char *const state_names[LOCK_STATES] = {"waiting", "granting", "held", "releasing"};

/* ---- owners ---- */

/* Of a name that may be empty. */
static struct slice owner_key(struct buf *key, struct slice name)
{
	buf_append_byte(key, 'o');
	buf_append_slice(key, name);
	return buf_slice(key);
}

struct lock_owner *lock_owner_find(const struct coordinator *c, struct slice name)
{
	struct buf key = {0};
	struct lock_owner *owner = map_get(&c->locks->owners, owner_key(&key, name));
	buf_close(&key);
	return owner;
}

static void owner_add(struct coordinator *c, const struct lock_record *record)
{
	struct lock_owner *owner = lock_owner_find(c, record->owner);
	if (!owner) {
		struct buf key = {0};
		owner = mem_alloc_zero(sizeof *owner);
		map_put(&c->locks->owners, owner_key(&key, record->owner), owner);
		buf_close(&key);
	}
	owner->locks++;
	owner->paths += record->keys_count;
}

static void owner_remove(struct coordinator *c, const struct lock_record *record)
{
	struct buf key = {0};
	struct lock_owner *owner = lock_owner_find(c, record->owner);
	CHECK(owner != NULL);
	owner->paths -= record->keys_count;
	if (--owner->locks == 0) {
		map_remove(&c->locks->owners, owner_key(&key, record->owner));
		free(owner);
	}
	buf_close(&key);
}

/* ---- rows ---- */

struct lock_row *lock_row_find(const struct coordinator *c, struct slice id)
{
	return map_get(&c->locks->by_id, id);
}

static struct lock_session *session_of(struct coordinator *c, struct slice id)
{
	if (id.len != LOCK_ID_BYTES)
		return NULL;
	struct lock_session *session = map_get(&c->locks->sessions, id);
	if (!session) {
		session = mem_alloc_zero(sizeof *session);
		memcpy(session->id, id.data, sizeof session->id);
		map_put(&c->locks->sessions, id, session);
	}
	session->seen_ms = c->now_ms;
	session->locks++;
	return session;
}

struct lock_row *lock_row_add(struct coordinator *c, const struct lock_record *record)
{
	struct locks *l = c->locks;
	struct lock_row *row = mem_alloc_zero(sizeof *row);
	struct buf bytes = {0};
	schema_encode(&schema_lock_record, record, &bytes);
	struct slice copy = arena_copy(&row->arena, buf_slice(&bytes));
	buf_close(&bytes);
	CHECK(schema_decode(&schema_lock_record, copy, &row->arena, &row->record));
	row->session = session_of(c, row->record.session);
	owner_add(c, &row->record);
	row->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = row;
	l->last = row;
	map_put(&l->by_id, row->record.id, row);
	l->dirty = true;
	return row;
}

static void session_leave(struct coordinator *c, struct lock_session *session)
{
	if (!session || --session->locks > 0)
		return;
	map_remove(&c->locks->sessions, slice_of(session->id, LOCK_ID_BYTES));
	free(session);
}

void lock_row_move(struct coordinator *c, struct lock_row *row, struct slice session)
{
	session_leave(c, row->session);
	row->record.session = arena_copy(&row->arena, session);
	row->session = session_of(c, row->record.session);
}

void lock_row_drop(struct coordinator *c, struct lock_row *row)
{
	struct locks *l = c->locks;
	session_leave(c, row->session);
	*(row->prev ? &row->prev->next : &l->first) = row->next;
	*(row->next ? &row->next->prev : &l->last) = row->prev;
	map_remove(&l->by_id, row->record.id);
	owner_remove(c, &row->record);
	arena_close(&row->arena);
	free(row);
	l->dirty = true;
}

static bool key_concerns(const struct lock_key *key, const struct shard *s)
{
	if (key->path.document.len == 0)
		return true;
	uint64_t hash = shard_hash(key->path.document);
	return hash >= s->hash_first && hash <= s->hash_last;
}

static bool row_has_shard(const struct lock_row *row, uint64_t id)
{
	for (uint32_t i = 0; i < row->shards_count; i++)
		if (row->shards[i].id == id)
			return true;
	return false;
}

/* False: they are too many. */
static bool add_shards(struct coordinator *c, struct lock_row *row, const struct lock_key *key,
		       uint64_t collection)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)e->value)->placement.shard;
		if (s->collection != collection || s->dropped || !key_concerns(key, s) ||
		    row_has_shard(row, s->id))
			continue;
		if (row->shards_count == LOCK_SHARDS_MAX)
			return false;
		row->shards[row->shards_count++] = (struct lock_shard){.id = s->id};
	}
	return true;
}

bool lock_row_shards(struct coordinator *c, struct lock_row *row, enum status *why)
{
	bool all = true;
	if (!row->shards)
		row->shards = arena_alloc(&row->arena, LOCK_SHARDS_MAX * sizeof *row->shards);
	row->shards_count = 0;
	for (uint32_t i = 0; i < row->record.keys_count; i++) {
		const struct lock_key *key = &row->record.keys[i];
		if (key->advisory)
			continue;
		const struct collection *collection = state_collection(c, key->name);
		if (collection && add_shards(c, row, key, collection->id))
			continue;
		if (all)
			*why = collection ? STATUS_LIMIT_REACHED : STATUS_NOT_FOUND;
		all = false;
	}
	row->unsettled = row->shards_count;
	return all;
}

void lock_row_renew(struct coordinator *c, struct lock_row *row)
{
	row->expires_ms = c->now_ms + (int64_t)row->record.ttl_ms;
	if (row->session)
		row->session->seen_ms = c->now_ms;
}

bool lock_row_expired(const struct coordinator *c, const struct lock_row *row)
{
	if (row->session && c->now_ms - row->session->seen_ms >= LOCK_SESSION_MS)
		return true;
	return row->record.ttl_ms > 0 && c->now_ms >= row->expires_ms;
}

/* ---- those that have ended ---- */

void lock_ended_add(struct coordinator *c, struct slice id, struct slice request)
{
	struct locks *l = c->locks;
	struct lock_ended *ended = &l->ended[l->ended_next++ % LOCK_ENDED_MAX];
	*ended = (struct lock_ended){.until_ms = c->now_ms + LOCK_ENDED_KEEP_MS};
	memcpy(ended->id, id.data, sizeof ended->id);
	if (request.len == sizeof ended->request)
		memcpy(ended->request, request.data, sizeof ended->request);
}

const struct lock_ended *lock_ended_find(const struct coordinator *c, struct slice id)
{
	for (uint32_t i = 0; i < LOCK_ENDED_MAX; i++) {
		const struct lock_ended *ended = &c->locks->ended[i];
		if (ended->until_ms > c->now_ms &&
		    slice_equal(slice_of(ended->id, sizeof ended->id), id))
			return ended;
	}
	return NULL;
}

/* ---- on disk ---- */

static struct slice key_lock(struct coordinator *c, struct slice id)
{
	buf_clear(&c->key);
	buf_append_byte(&c->key, 'l');
	buf_append_slice(&c->key, id);
	return buf_slice(&c->key);
}

void lock_row_put(struct coordinator *c, const struct lock_row *row, struct effects *fx)
{
	buf_clear(&c->value);
	schema_encode(&schema_lock_record, &row->record, &c->value);
	store_put(c->store, STORE_META, key_lock(c, row->record.id), buf_slice(&c->value));
	state_put_counters(c, fx);
}

void lock_row_remove(struct coordinator *c, const struct lock_row *row, struct effects *fx)
{
	store_remove(c->store, STORE_META, key_lock(c, row->record.id));
	fx_sync(fx);
}

/* Shards must let go of what was released, and say again that they keep the rest. A lock of
 * something that does not exist any more locks nothing as it was granted: what is left of it is
 * released. */
static bool load_row(struct coordinator *c, struct slice value)
{
	struct lock_record record;
	enum status why;
	if (!schema_decode(&schema_lock_record, value, &c->arena, &record) ||
	    record.id.len != LOCK_ID_BYTES)
		return false;
	struct lock_row *row = lock_row_add(c, &record);
	row->loaded = true;
	if (!lock_row_shards(c, row, &why))
		row->record.releasing = true;
	row->state = row->record.releasing ? LOCK_RELEASING : LOCK_GRANTING;
	return true;
}

bool lock_open(struct coordinator *c)
{
	struct store_iterator *it = store_iterate(c->store, STORE_META);
	bool ok = true;
	c->locks = mem_alloc_zero(sizeof *c->locks);
	c->locks->claims.seed = c->shards.seed;
	c->locks->owners.seed = c->shards.seed;
	for (store_seek(c->store, it, slice_text("l")); ok && store_valid(c->store, it);
	     store_next(c->store, it)) {
		struct slice key = store_key(c->store, it);
		if (key.len != KEY_LOCK_BYTES || key.data[0] != 'l')
			break;
		ok = load_row(c, store_value(c->store, it));
	}
	ok = ok && store_iterator_result(c->store, it) == STORE_OK;
	store_iterator_free(c->store, it);
	arena_reset(&c->arena);
	return ok;
}

void lock_close(struct coordinator *c)
{
	if (!c->locks)
		return;
	while (c->locks->first)
		lock_row_drop(c, c->locks->first);
	map_close(&c->locks->by_id);
	map_close(&c->locks->sessions);
	map_close(&c->locks->owners);
	map_close(&c->locks->claims);
	free(c->locks);
	c->locks = NULL;
}

/* ---- as people see them ---- */

void lock_key_print(const struct lock_key *key, struct buf *out)
{
	buf_append_slice(out, key->name);
	if (key->path.document.len > 0) {
		buf_append_byte(out, '/');
		buf_append_slice(out, key->path.document);
	}
	if (key->path.field.len > 0) {
		buf_append_byte(out, '/');
		buf_append_slice(out, key->path.field);
	}
}

static void write_uuid(struct buf *out, const char *name, struct slice id)
{
	struct buf text = {0};
	for (size_t i = 0; i < id.len; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf_append_byte(&text, '-');
		buf_append_hex(&text, id.data + i, 1);
	}
	mp_write_text(out, name);
	mp_write_str(out, buf_slice(&text));
	buf_close(&text);
}

static void write_number(struct buf *out, const char *name, int64_t value)
{
	mp_write_text(out, name);
	mp_write_u64(out, value > 0 ? (uint64_t)value : 0);
}

static int64_t expires_in_ms(const struct coordinator *c, const struct lock_row *row)
{
	int64_t left = row->record.ttl_ms > 0 ? row->expires_ms - c->now_ms : INT64_MAX;
	int64_t session =
	    row->session ? row->session->seen_ms + LOCK_SESSION_MS - c->now_ms : INT64_MAX;
	if (row->state == LOCK_WAITING)
		return row->wait_until_ms - c->now_ms;
	return session < left ? session : left;
}

static void write_row(const struct coordinator *c, const struct lock_row *row, struct buf *out)
{
	const struct lock_record *r = &row->record;
	enum lock_state state = row->state == LOCK_GRANTING && row->loaded ? LOCK_HELD : row->state;
	mp_write_map(out, 8);
	write_uuid(out, "id", r->id);
	mp_write_text(out, "keys");
	mp_write_array(out, r->keys_count);
	for (uint32_t i = 0; i < r->keys_count; i++) {
		struct buf text = {0};
		lock_key_print(&r->keys[i], &text);
		mp_write_str(out, buf_slice(&text));
		buf_close(&text);
	}
	write_number(out, "token", (int64_t)r->token);
	mp_write_text(out, "state");
	mp_write_text(out, state_names[state]);
	mp_write_text(out, "owner");
	mp_write_str(out, r->owner);
	write_uuid(out, "session", r->session);
	write_number(out, "sinceMs", (int64_t)r->since_ms);
	write_number(out, "expiresInMs", expires_in_ms(c, row));
}

void lock_list(struct coordinator *c, struct system_list *list)
{
	for (const struct lock_row *row = c->locks->first; row; row = row->next) {
		buf_clear(&c->value);
		write_row(c, row, &c->value);
		system_list_add(c, list, buf_slice(&c->value));
	}
}

void lock_metrics(const struct coordinator *c, struct buf *out)
{
	uint64_t counts[LOCK_STATES] = {0};
	for (const struct lock_row *row = c->locks->first; row; row = row->next)
		counts[row->state]++;
	buf_append_text(out, "# HELP parley_locks Locks by state.\n# TYPE parley_locks gauge\n");
	for (int i = 0; i < LOCK_STATES; i++)
		buf_printf(out, "parley_locks{state=\"%s\"} %llu\n", state_names[i],
			   (unsigned long long)counts[i]);
	buf_printf(
	    out,
	    "# HELP parley_locks_granted_total Locks granted.\n"
	    "# TYPE parley_locks_granted_total counter\n"
	    "parley_locks_granted_total %llu\n"
	    "# HELP parley_locks_expired_total Locks that ended because nobody renewed them.\n"
	    "# TYPE parley_locks_expired_total counter\n"
	    "parley_locks_expired_total %llu\n",
	    (unsigned long long)c->locks->granted, (unsigned long long)c->locks->expired);
}
