/* Many documents in one request of the CouchDB dialect: one message to each shard, not one for each
 * document. */
#ifndef PARLEY_GATEWAY_COUCH_SHARDS_H
#define PARLEY_GATEWAY_COUCH_SHARDS_H

#include "gateway/couch/couch.h"
#include "proto/msgpack.h"

/* The documents of one shard, as indexes into the request's list, ascending. */
struct couch_group {
	uint64_t shard;
	uint32_t *items;
	uint32_t count;
};

/* The lists of the shards that have any; in the request's arena. Returns how many. */
uint32_t couch_groups(struct request *r, const struct map_collection *c, const struct slice *ids,
		      uint32_t count, struct couch_group **out);

/* Asks the shard's lead; an answer may be asked for again. */
bool couch_ask_lead(struct turn *t, struct request *r, struct call_spec spec) MUST_CHECK;

/* Changes something at the shard's lead. What can't be sent is a refusal like a lead's, as other
 * messages of the request may have been sent. */
void couch_tell_lead(struct turn *t, struct request *r, struct call_spec spec);

/* Ids of a list of a request, as far as they may be asked about. */
bool couch_take_id(struct slice value, struct slice *id, struct problem *p) MUST_CHECK;

/* The next `count` values of a list of revisions. */
bool couch_take_revisions(struct request *r, struct mp_reader *reader, uint32_t count,
			  struct revs_asked *out, struct problem *p) MUST_CHECK;

enum { COUCH_ASKED_ID_BYTES = 64 * 1024 };

/* A body {id: [revisions]}: ids that have some. They need not be such as may be stored. */
struct couch_asked {
	struct revs_asked *rows;
	struct slice *ids; /* of each */
	uint32_t count;
};
bool couch_take_asked(struct turn *t, struct request *r, struct couch_asked *out,
		      struct problem *p) MUST_CHECK;

#endif
