/* Definitions of secondary indexes in requests and answers. */
#ifndef PARLEY_GATEWAY_INDEX_PARAMS_H
#define PARLEY_GATEWAY_INDEX_PARAMS_H

#include "gateway/native.h"

/* {"name": "by-age", "fields": ["age"]}; place: JSON pointer of the value. Lists lie in the
 * request's arena. */
bool index_take(struct request *r, struct slice value, const char *place,
		struct index_definition *out, struct problem *p) MUST_CHECK;
/* An array of those: the indexes of a new collection. */
bool index_take_list(struct request *r, struct slice value, struct collection *out,
		     struct problem *p) MUST_CHECK;
/* Asks the leads of these shards how far their indexes are; op_indexes.c. Answers by itself if too
 * many calls are under way. */
void index_ask_progress(struct turn *t, struct request *r, struct msg_index_status *asked,
			uint32_t count, call_done *done);
/* "name":...,"fields":[...] */
void index_print(const struct index_definition *index, struct buf *out);
/* All of a collection, as an array of objects. */
void index_print_list(const struct collection *settings, struct buf *out);
/* The same as MessagePack. */
void index_write_list(const struct collection *settings, struct buf *out);

#endif
