/* An ordered map from byte strings to chains of numbered versions: a skip list whose readers choose
 * the number up to which they look. Heights come from a generator of its own, so that every run is
 * alike. */
#ifndef PARLEY_SIM_VERSIONS_H
#define PARLEY_SIM_VERSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/rng.h"
#include "common/base/slice.h"

/* What a key was given by one commit. */
struct version {
	struct version *older;
	uint64_t number;
	size_t len;
	uint64_t digest; /* of key and value; 0: not known yet */
	bool removed;    /* the key was removed: no value */
	bool corrupt;    /* reading it fails */
	bool unreadable; /* likewise, with an I/O error */
	bool visited;    /* by disk_walk_new */
	uint8_t data[];
};

enum { VERSIONS_HEIGHT_MAX = 16 };

/* The beginning of a key as numbers, so that most of two need not be compared by bytes. */
struct key_head {
	uint64_t first, second;
};

/* What all keys under a prefix begin with: most can be told by their heads. */
struct key_prefix {
	struct key_head head, mask;
	const uint8_t *data; /* borrowed */
	size_t len;
};

struct node {
	struct version *newest; /* NULL only while a node is being made or emptied */
	struct key_head head;
	const uint8_t *key; /* in the same allocation, behind `next` */
	size_t key_len;
	uint32_t height;
	struct node *next[];
};

struct versions {
	struct node *head; /* has no key; as high as any */
	uint32_t height;   /* of the highest node */
	struct rng rng;
};

void versions_init(struct versions *v);
void versions_close(struct versions *v);
/* NULL when absent. */
struct node *versions_find(const struct versions *v, struct slice key);
/* The first node whose key is not less; NULL past the last. */
struct node *versions_seek(const struct versions *v, struct slice key);
/* The last node whose key is less; NULL before the first. */
struct node *versions_before(const struct versions *v, struct slice key);
/* Finds or makes; a new node has no version yet. */
struct node *versions_insert(struct versions *v, struct slice key);
/* Takes the node out and frees it with all its versions. */
void versions_drop(struct versions *v, struct node *node);

/* Puts a version atop; copies the value (NULL: a removal). */
void node_push(struct node *node, uint64_t number, const struct slice *value);
/* Frees the newest version. */
void node_pop(struct node *node);
/* Frees the versions below this one, which may be NULL. */
void node_trim(struct version *from);

static inline struct slice node_key(const struct node *node)
{
	return slice_of(node->key, node->key_len);
}

struct key_prefix key_prefix_of(struct slice prefix);

static inline bool node_is_under(const struct node *node, const struct key_prefix *p)
{
	if ((node->head.first & p->mask.first) != p->head.first ||
	    (node->head.second & p->mask.second) != p->head.second)
		return false;
	if (node->key_len < p->len)
		return false; /* heads of short keys are filled up with zeros */
	return p->len <= sizeof p->head || memcmp(node->key, p->data, p->len) == 0;
}

/* The newest version of at most this number; NULL if there is none. */
static inline struct version *node_at(const struct node *node, uint64_t number)
{
	struct version *v = node->newest;
	while (v && v->number > number)
		v = v->older;
	return v;
}

#endif
