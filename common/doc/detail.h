/* Records of what was decided, and why: maps for people, cut where they are too long. */
#ifndef PARLEY_DOC_DETAIL_H
#define PARLEY_DOC_DETAIL_H

#include "proto/msgpack.h"

/* Appends the map in at most `room` bytes (64 at least). Of one that is longer, texts end early,
 * lists have fewer elements, and what still does not fit is left out; each map that lacks something
 * says `cut`: true. The same bytes for the same map. */
void detail_cut(struct slice map, size_t room, struct buf *out);

#endif
