/* A document's graph whose bodies came in several answers, as they are more than one message holds.
 * A name covers its body, so what was read before stays good when the graph has moved meanwhile. */
#ifndef PARLEY_DOC_GRAPH_PARTS_H
#define PARLEY_DOC_GRAPH_PARTS_H

#include "common/base/arena.h"
#include "proto/schema.h"

enum {
	GRAPH_PARTS_BYTES_MAX = 256 * 1024 * 1024, /* of bodies, beyond which the rest is left */
	GRAPH_PARTS_MAX = 80                       /* two parts hold LIMIT_BODY_BYTES, or more */
};

struct graph_body;

/* Zero-initialised is valid and empty; all it holds is in the arena given, always the same one. */
struct graph_parts {
	struct graph_body *bodies;
	uint32_t count;
	uint32_t room;
	uint32_t parts;
	size_t bytes;
};

/* Is there more than this answer holds? */
bool graph_parts_are_left(const struct msg_conflict_read_ack *part);
/* *whole: the graph of this part with all bodies so far; borrows from the part and the arena.
 * False: ask again, from node *from on. True: that is all, but for nodes still marked
 * REVISION_BODY_LEFT, which are more than can be held. */
bool graph_parts_take(struct graph_parts *p, struct arena *arena,
		      const struct msg_conflict_read_ack *part, struct msg_conflict_read_ack *whole,
		      uint64_t *from);

#endif
