/* A shard's digest: the sum, modulo 2^64, of the hashes of all pairs that replicas share. It is
 * kept as entries are applied, so two replicas that have applied as much have the same one, and
 * what lies on a disk must add up to it. This header needs no other of the folder, as internal.h
 * includes it. */
#ifndef PARLEY_STORAGE_DIGEST_H
#define PARLEY_STORAGE_DIGEST_H

#include "common/store/store.h"

enum {
	DIGEST_EVERY = 64, /* entries from one remembered digest to the next */
	DIGEST_MARKS = 256 /* remembered */
};

/* The families whose pairs replicas share; their keys begin with 'd' and the shard. */
enum { DIGEST_FAMILIES = 3 };
extern const enum store_family digest_families[DIGEST_FAMILIES];

struct storage;
struct shard_copy;

/* What a replica has, as its lead last heard. */
enum digest_verdict { VERDICT_NONE, VERDICT_SAME, VERDICT_OTHER };

struct digest_mark {
	uint64_t number;
	uint64_t digest;
};

/* What is known of the soundness of a shard's copy here. */
struct shard_integrity {
	struct digest_mark *marks; /* ring by number; NULL: none so far */
	bool damaged;              /* it is wrong here: the node is to start anew */
	bool differs;              /* a peer has something else */
	bool sound;                /* since then all was read, and adds up */
	int64_t spare_until_ms;    /* a replica's: until then it may start anew */
};

/* Of one pair; the key is the whole one, with its letter and shard. */
uint64_t digest_pair(enum store_family family, struct slice key, struct slice value);

/* Into the store's batch and into the digest. `before` is what the key has now, empty: it is
 * absent; no value that replicas share is empty. */
void digest_replace(struct storage *s, struct shard_copy *c, enum store_family family,
		    struct slice key, struct slice before, struct slice value);
/* Likewise; they read what is there themselves. `key` and `value` stay valid. */
void digest_put(struct storage *s, struct shard_copy *c, enum store_family family, struct slice key,
		struct slice value);
void digest_remove(struct storage *s, struct shard_copy *c, enum store_family family,
		   struct slice key);

/* What the key has now is known. */
void digest_remove_known(struct storage *s, struct shard_copy *c, enum store_family family,
			 struct slice key, struct slice value);

/* Entry position.applied was applied. */
void digest_mark(struct shard_copy *c);
/* The digest after this entry, if it is known. */
bool digest_at(const struct shard_copy *c, uint64_t number, uint64_t *digest) MUST_CHECK;
/* The copy's content was replaced. */
void digest_forget(struct shard_copy *c);

#endif
