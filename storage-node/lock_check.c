/* May this be written? The lead asks for every write, as it decides it. */
#include "common/doc/value.h"
#include "proto/msgpack.h"
#include "storage-node/internal.h"
#include "storage-node/lock_table.h"
#include "storage-node/write.h"

bool lock_is_refusal(enum status status)
{
	return status == STATUS_LOCKED || status == STATUS_LOCK_LOST;
}

/* ---- paths ---- */

/* a is b, or above it: "o" is above "o.x". */
static bool field_above(struct slice a, struct slice b)
{
	return a.len <= b.len && memcmp(a.data, b.data, a.len) == 0 &&
	       (a.len == b.len || b.data[a.len] == '.');
}

struct check {
	const struct lock_question *question;
	const struct lock_paths *paths; /* of the document; NULL: none */
	bool foreign_fields;
	bool covered;     /* the whole document is */
	bool lost;        /* something is touched that no lock of the writer's covers */
	bool locked;      /* something is touched that another lock covers */
	struct buf field; /* the path touched */
};

static bool is_mine(const struct lock_question *q, const struct held_lock *lock)
{
	for (uint32_t i = 0; i < q->lock_ids_count; i++)
		if (slice_equal(q->lock_ids[i], slice_of(lock->id, sizeof lock->id)))
			return true;
	return false;
}

/* Locks of the whole document, or of the collection; of fields it is noted that there are some. */
static void check_whole(struct check *k, const struct lock_paths *paths)
{
	for (uint32_t i = 0; paths && i < paths->count; i++) {
		bool mine = is_mine(k->question, paths->items[i].lock);
		if (paths->items[i].field.len > 0)
			k->foreign_fields |= !mine;
		else if (mine)
			k->covered = true;
		else
			k->locked = true;
	}
}

static void check_field(struct check *k)
{
	struct slice touched = buf_slice(&k->field);
	bool covered = k->covered;
	for (uint32_t i = 0; k->paths && i < k->paths->count; i++) {
		struct slice field = k->paths->items[i].field;
		bool above = field.len > 0 && field_above(field, touched);
		if (is_mine(k->question, k->paths->items[i].lock))
			covered |= above;
		else if (above || (field.len > 0 && field_above(touched, field)))
			k->locked = true;
	}
	k->lost |= !covered;
}

/* ---- what a patch touches: the leaves of a merge patch, the paths of an update's operators ----
 */

/* Is there a lock of something inside of what is touched? */
static bool is_parted(const struct check *k)
{
	struct slice touched = buf_slice(&k->field);
	for (uint32_t i = 0; k->paths && i < k->paths->count; i++) {
		struct slice field = k->paths->items[i].field;
		if (field.len > touched.len && field_above(touched, field))
			return true;
	}
	return false;
}

/* base: what stands there now, as far as it matters. An object takes the place of a whole array. */
static void walk_patch(struct check *k, struct mp_reader *in, struct slice base, uint32_t depth)
{
	struct mp_token head = mp_read(in);
	size_t above = k->field.len;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct mp_token name = mp_read(in);
		struct slice value = mp_value(in);
		if (name.type != MP_STR || value.len == 0)
			return;
		if (above > 0)
			buf_append_byte(&k->field, '.');
		buf_append_slice(&k->field, name.bytes);
		struct mp_reader inner = mp_reader_of(value);
		struct mp_reader ahead = inner;
		struct mp_token token = mp_read(&ahead);
		bool into = token.type == MP_MAP && token.count > 0 && depth < LOCK_PATH_DEPTH;
		struct slice old = {0};
		if (into && is_parted(k))
			old = value_member(base, name.bytes);
		if (into && value_rank(old) != RANK_ARRAY)
			walk_patch(k, &inner, old, depth + 1);
		else
			check_field(k);
		k->field.len = above;
	}
}

static void walk_update(struct check *k, struct mp_reader *in)
{
	struct mp_token head = mp_read(in);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		if (mp_read(in).type != MP_STR)
			return;
		struct slice operands = mp_value(in);
		struct mp_reader inner = mp_reader_of(operands);
		struct mp_token paths = mp_read(&inner);
		for (uint32_t n = 0; paths.type == MP_MAP && n < paths.count; n++) {
			struct mp_token path = mp_read(&inner);
			if (path.type != MP_STR || mp_value(&inner).len == 0)
				return;
			buf_clear(&k->field);
			buf_append_slice(&k->field, path.bytes);
			check_field(k);
		}
	}
}

static void check_touched(struct check *k)
{
	const struct lock_question *q = k->question;
	struct mp_reader in = mp_reader_of(q->body);
	if (q->op == WRITE_PATCH) {
		walk_patch(k, &in, q->base, 0);
	} else if (q->op == WRITE_UPDATE) {
		walk_update(k, &in);
	} else {
		k->locked |= k->foreign_fields;
		k->lost |= !k->covered;
	}
}

enum status lock_check(const struct shard_copy *c, const struct lock_question *question)
{
	const struct lock_table *t = c->locks;
	if (!t || t->by_id.count == 0)
		return question->lock_ids_count > 0 && !MUTATION(lock_token_ignored)
			   ? STATUS_LOCK_LOST
			   : STATUS_OK;
	struct check k = {.question = question, .paths = map_get(&t->by_document, question->id)};
	check_whole(&k, &t->whole);
	check_whole(&k, k.paths);
	bool names = question->lock_ids_count > 0;
	if (k.foreign_fields || (names && !k.covered))
		check_touched(&k);
	buf_close(&k.field);
	/* waiting for others would not help one whose own lock has ended */
	if (names && k.lost && !MUTATION(lock_token_ignored))
		return STATUS_LOCK_LOST;
	return k.locked && !MUTATION(lock_of_others_ignored) ? STATUS_LOCKED : STATUS_OK;
}

enum status lock_check_write(const struct shard_copy *c, const struct msg_doc_write *m,
			     struct slice base)
{
	struct lock_question question = {.id = m->id,
					 .op = m->op,
					 .body = m->body,
					 .base = base,
					 .lock_ids = m->lock_ids,
					 .lock_ids_count = m->lock_ids_count};
	return lock_check(c, &question);
}

void lock_refuse_write(struct storage *s, struct shard_copy *c, const struct event *e,
		       enum status status, struct effects *fx)
{
	if (lease_held(s, c))
		attempt_refused(s, c, e->message.body, status);
	else
		status = STATUS_NO_LEAD;
	s->refused_total++;
	write_answer(s, e, WHEN_NOW, status, NULL, fx);
}
