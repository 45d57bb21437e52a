/* A place in the streams of several shards, as clients are given it: opaque text. */
#ifndef PARLEY_GATEWAY_POSITION_H
#define PARLEY_GATEWAY_POSITION_H

#include "common/base/buf.h"

enum { POSITION_SHARDS_MAX = 512 };

struct position_of {
	uint64_t shard;
	uint64_t number;
};

/* Base64url of the list; appends. */
void position_print(const struct position_of *list, uint32_t count, struct buf *out);
/* Appends the list's items, as they lie in memory. False: no such text. */
bool position_parse(struct slice text, struct buf *list) MUST_CHECK;
uint32_t position_count(const struct buf *list);
/* Of a list that was parsed. */
struct position_of position_at(const struct buf *list, uint32_t index);

/* CouchDB's update sequences: the sum of the numbers first, as some clients compare these, then the
 * place. */
void sequence_print(const struct position_of *list, uint32_t count, struct buf *out);
/* Also in quotes, and without the sum. */
bool sequence_parse(struct slice text, struct buf *list) MUST_CHECK;

#endif
