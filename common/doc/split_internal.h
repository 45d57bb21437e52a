/* What the files of a split share; nobody else includes it. */
#ifndef PARLEY_DOC_SPLIT_INTERNAL_H
#define PARLEY_DOC_SPLIT_INTERNAL_H

#include "common/doc/decide_internal.h"
#include "common/doc/graph_split.h"

/* One history, and what it comes to. */
struct entity {
	uint32_t *nodes;
	uint32_t count;
	struct slice body;
	bool deleted; /* it was split off before, and came again as a deletion */
	bool late;    /* of a document that was split off, as the history tells */
	bool beside;  /* what the split took of it before is not in it, as that is gone */
	/* its versions can't be merged: these go on, each as one of its document, made on `body` if
	 * that is what they have in common */
	const uint32_t *versions;
	uint32_t versions_count;
	bool on_base;
};

struct splitting {
	struct decide *w;
	struct decision *out;
	struct graph_split history;
	uint32_t *nodes; /* the inputs that are no stubs, nor own */
	uint32_t count;
	bool stub_inputs; /* there are others */
	uint32_t *own;    /* what the old id has become since it was split */
	uint32_t own_count;
	uint32_t own_roots; /* so many histories if it was made under the freed id; else 0 */
	struct entity own_entity;
	bool own_stays; /* under the old id, while the others go to theirs */
	bool was_split;
	struct slice *ids; /* the stub's list */
	uint32_t ids_count;
	uint32_t stub_ids; /* so many of them the stub before names; then those that are new */
	struct entity *entities; /* one for each history; deleted ones only after a split */
	uint32_t entities_count;
	bool failed; /* *out says why */
};

/* ---- decide_split.c ---- */

/* Always false: it stays open, with this reason. */
bool splitting_fail(struct splitting *s, const char *reason);
/* To the stub's list, unless it is there. */
void splitting_add_id(struct splitting *s, struct slice id);

/* ---- decide_parts.c ---- */

/* Each entity gets an id of its own, and the old one names them or stays what it has become.
 * detail: a map, which gets the list of ids, and of those that are deleted or in conflict. */
void splitting_become_parts(struct splitting *s, struct slice detail);

#endif
