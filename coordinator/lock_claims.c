/* Which paths are taken, in one pass over the locks: a map of every path that is claimed, and of
 * all that lie above one. Two paths overlap if one is the other or above it, so a look at each part
 * of a path's way tells. */
#include "coordinator/lock_rows.h"

enum {
	CLAIMED = 1,
	BELOW = 2, /* something below is claimed */
	FIELD_DEPTH_MAX =
	    32 /* of a dotted path; what is deeper counts as this deep, and so locks more */
};

typedef bool claims_visit(struct locks *l, struct slice path, bool last);

/* Calls visit for each part of the key's way, until it says no. Names and ids hold no zero byte. */
static bool walk(struct locks *l, const struct lock_key *key, claims_visit *visit)
{
	struct buf path = {0};
	struct slice field = key->path.field;
	bool whole = key->path.document.len == 0;
	buf_append_byte(&path, key->advisory ? 'a' : 'c');
	buf_append_slice(&path, key->name);
	bool more = visit(l, buf_slice(&path), whole);
	if (more && !whole) {
		buf_append_byte(&path, 0);
		buf_append_slice(&path, key->path.document);
		more = visit(l, buf_slice(&path), field.len == 0);
	}
	for (uint32_t depth = 1; more && field.len > 0; depth++) {
		size_t len = 0;
		while (len < field.len && field.data[len] != '.')
			len++;
		buf_append_byte(&path, 0);
		buf_append_slice(&path, slice_of(field.data, len));
		size_t used = len < field.len ? len + 1 : len;
		field = slice_of(field.data + used, field.len - used);
		if (depth == FIELD_DEPTH_MAX)
			field.len = 0;
		more = visit(l, buf_slice(&path), field.len == 0);
	}
	buf_close(&path);
	return more;
}

static uintptr_t flags_of(struct locks *l, struct slice path)
{
	return (uintptr_t)map_get(&l->claims, path);
}

static bool claim(struct locks *l, struct slice path, bool last)
{
	map_put(&l->claims, path, (void *)(flags_of(l, path) | (last ? CLAIMED : BELOW)));
	return true;
}

static bool is_free(struct locks *l, struct slice path, bool last)
{
	uintptr_t flags = flags_of(l, path);
	return last ? flags == 0 : !(flags & CLAIMED);
}

void lock_claims_clear(struct locks *l)
{
	uint64_t seed = l->claims.seed;
	map_close(&l->claims);
	l->claims.seed = seed;
}

void lock_claims_add(struct locks *l, const struct lock_record *record)
{
	for (uint32_t i = 0; i < record->keys_count; i++)
		(void)walk(l, &record->keys[i], claim);
}

const struct lock_key *lock_claims_overlap(struct locks *l, const struct lock_record *record)
{
	for (uint32_t i = 0; i < record->keys_count; i++)
		if (!walk(l, &record->keys[i], is_free))
			return &record->keys[i];
	return NULL;
}
