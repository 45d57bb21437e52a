/* A document of very many revisions that stays decoded from one entry to the next: reading and
 * writing its record would take far longer than all that an entry does to it. What it refers to is
 * in its own arena. */
#ifndef PARLEY_STORAGE_LARGE_H
#define PARLEY_STORAGE_LARGE_H

#include "common/base/arena.h"
#include "proto/schema.h"

enum { LARGE_REVISIONS = 256 /* fewer are as quickly read again */ };

struct large {
	struct arena arena;
	struct document doc;
	uint32_t cap;    /* places for revisions */
	size_t used_max; /* of the arena: what was replaced stays in it */
};

/* Copies. False: it is not worth it. The struct was zeroed, or closed. */
bool large_open(struct large *l, const struct document *doc);
/* Takes what an edit made of l->doc: revisions at the end, marks of others, the body, operation
 * ids. False: nothing was taken, as too much was replaced before; it is to be opened again. */
bool large_follow(struct large *l, const struct document *doc);
void large_close(struct large *l);

#endif
