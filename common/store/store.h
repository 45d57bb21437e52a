/* The ordered key-value interface between cores and disks. Implemented by store_rocks.c in
 * production and by tests/sim/disk.c in simulation; both pass tests/unit/store_test.c.
 *
 * Puts collect in one pending batch per store, which the shell commits at the end of a turn (see
 * common/core.h): all of it becomes visible and durable together, or none. */
#ifndef PARLEY_STORE_STORE_H
#define PARLEY_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

enum store_family {
	STORE_META = 0,      /* identity, maps, promises, positions */
	STORE_DOCUMENTS = 1, /* document records and other bodies */
	STORE_STREAM = 2, /* entries of the shards' streams; also outboxes and discarded entries */
	STORE_CONFLICTS = 3,   /* open and resolved conflicts */
	STORE_INDEXES = 4,     /* keys of secondary indexes; empty values */
	STORE_ATTACHMENTS = 5, /* contents in chunks, who names them, uploads */
	STORE_FAMILIES = 6
};

enum store_result {
	STORE_OK = 0,
	STORE_ABSENT = 1,
	STORE_FULL = 2,  /* no space; nothing was written */
	STORE_BROKEN = 3 /* I/O error or corruption: this process must stop */
};

struct store_iterator; /* opaque */

/* A table of operations and the implementation's own state behind it. */
struct store {
	const struct store_ops *ops;
};

struct store_ops {
	enum store_result (*get)(struct store *s, enum store_family family, struct slice key,
				 struct slice *value);
	void (*put)(struct store *s, enum store_family family, struct slice key,
		    struct slice value);
	void (*remove)(struct store *s, enum store_family family, struct slice key);
	void (*remove_range)(struct store *s, enum store_family family, struct slice first,
			     struct slice end);
	bool (*dirty)(const struct store *s);
	enum store_result (*commit)(struct store *s, bool sync);
	struct store_iterator *(*iterate)(struct store *s, enum store_family family);
	void (*tolerate)(struct store_iterator *it);
	void (*iterator_free)(struct store_iterator *it);
	void (*seek)(struct store_iterator *it, struct slice key);
	void (*seek_before)(struct store_iterator *it, struct slice key);
	bool (*valid)(const struct store_iterator *it);
	void (*next)(struct store_iterator *it);
	struct slice (*key)(const struct store_iterator *it);
	struct slice (*value)(const struct store_iterator *it);
	enum store_result (*iterator_result)(const struct store_iterator *it);
	void (*close)(struct store *s);
};

/* STORE_OK, STORE_ABSENT or STORE_BROKEN. Sees pending puts, removals and ranges. *value is
 * borrowed until the next call on this store, whatever it is. */
static inline enum store_result store_get(struct store *s, enum store_family f, struct slice key,
					  struct slice *value)
{
	return s->ops->get(s, f, key, value);
}

/* Into the pending batch; copies. Can't fail: failures show at commit. */
static inline void store_put(struct store *s, enum store_family f, struct slice key,
			     struct slice value)
{
	s->ops->put(s, f, key, value);
}

static inline void store_remove(struct store *s, enum store_family f, struct slice key)
{
	s->ops->remove(s, f, key);
}

/* All keys k with first <= k < end, those pending included. */
static inline void store_remove_range(struct store *s, enum store_family f, struct slice first,
				      struct slice end)
{
	s->ops->remove_range(s, f, first, end);
}

/* True if anything is pending. */
static inline bool store_dirty(const struct store *s)
{
	return s->ops->dirty(s);
}

/* Shell only. Writes the pending batch atomically; with sync, all earlier commits and this one are
 * durable when it returns STORE_OK. After STORE_FULL or STORE_BROKEN the batch is dropped and the
 * core's memory no longer agrees with the disk: the process must restart. */
static inline enum store_result store_commit(struct store *s, bool sync) MUST_CHECK;
static inline enum store_result store_commit(struct store *s, bool sync)
{
	return s->ops->commit(s, sync);
}

/* A view of the last commit at this moment: later commits don't change what it shows. Never NULL;
 * release with store_iterator_free. Not positioned yet. */
static inline struct store_iterator *store_iterate(struct store *s, enum store_family f)
{
	return s->ops->iterate(s, f);
}

/* For who looks whether all can be read: an I/O error ends this walk, as store_iterator_result
 * says, and not the process. Damage does, as ever. */
static inline void store_tolerate(struct store *s, struct store_iterator *it)
{
	s->ops->tolerate(it);
}

static inline void store_iterator_free(struct store *s, struct store_iterator *it)
{
	s->ops->iterator_free(it);
}

/* To the first key >= the one given. */
static inline void store_seek(struct store *s, struct store_iterator *it, struct slice key)
{
	s->ops->seek(it, key);
}

/* To the last key < the one given. */
static inline void store_seek_before(struct store *s, struct store_iterator *it, struct slice key)
{
	s->ops->seek_before(it, key);
}

/* False past the last key or before the first, or on an error: then store_iterator_result says
 * STORE_BROKEN. */
static inline bool store_valid(struct store *s, const struct store_iterator *it)
{
	return s->ops->valid(it);
}

static inline void store_next(struct store *s, struct store_iterator *it)
{
	s->ops->next(it);
}

/* Borrowed until the iterator moves. */
static inline struct slice store_key(struct store *s, const struct store_iterator *it)
{
	return s->ops->key(it);
}

static inline struct slice store_value(struct store *s, const struct store_iterator *it)
{
	return s->ops->value(it);
}

static inline enum store_result store_iterator_result(struct store *s,
						      const struct store_iterator *it)
{
	return s->ops->iterator_result(it);
}

static inline void store_close(struct store *s)
{
	s->ops->close(s);
}

#endif
