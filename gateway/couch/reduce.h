/* Built-in reduce functions of views, over rows in their order. */
#ifndef PARLEY_GATEWAY_COUCH_REDUCE_H
#define PARLEY_GATEWAY_COUCH_REDUCE_H

#include "common/base/buf.h"
#include "common/base/slice.h"
#include "common/doc/collation_key.h"

enum reduce_kind {
	REDUCE_NONE,
	REDUCE_COUNT,
	REDUCE_SUM,
	REDUCE_STATS,
	REDUCE_DISTINCT, /* of keys; exact, as rows come in their order */
	REDUCE_SCRIPT    /* not built in */
};

/* REDUCE_NONE of an empty text; false: begins with an underscore, but is none of them. */
bool reduce_kind(struct slice text, enum reduce_kind *out) MUST_CHECK;

enum { REDUCE_SUMS_MAX = 64 };

struct reduce {
	enum reduce_kind kind;
	enum collation_order order;
	uint64_t count;
	double sums[REDUCE_SUMS_MAX]; /* of numbers the first; of lists one each */
	uint32_t sums_count;
	bool is_list;
	double least, greatest, squares;
	struct buf last; /* DISTINCT: collated key */
};

void reduce_begin(struct reduce *r, enum reduce_kind kind, enum collation_order order);
/* key, value: MessagePack. False: the function can't take this value. */
bool reduce_add(struct reduce *r, struct slice key, struct slice value) MUST_CHECK;
/* As JSON. */
void reduce_print(const struct reduce *r, struct buf *out);
void reduce_close(struct reduce *r);

#endif
