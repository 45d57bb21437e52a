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

enum {
	REDUCE_LANES_MAX = 64,     /* numbers of a list */
	REDUCE_OBJECT_BYTES = 8192 /* of a sum of objects; else each row costs more than the last */
};

/* Of numbers there is one, of lists one for each element. */
struct reduce_lane {
	double sum, count, least, greatest, squares;
};

struct reduce {
	enum reduce_kind kind;
	enum collation_order order;
	uint64_t count; /* rows */
	struct reduce_lane lanes[REDUCE_LANES_MAX];
	uint32_t lanes_count;
	bool is_list;
	struct buf object; /* SUM: of objects, MessagePack; empty: there are none */
	struct buf error;  /* SUM: JSON, in place of the sum; empty: there is none */
	struct buf last;   /* DISTINCT: collated key */
};

void reduce_begin(struct reduce *r, enum reduce_kind kind, enum collation_order order);
/* key, value: MessagePack. False: the function can't take this value. A sum takes all: what it
 * can't add becomes an error in its place, as CouchDB has it. */
bool reduce_add(struct reduce *r, struct slice key, struct slice value) MUST_CHECK;
/* As JSON. */
void reduce_print(const struct reduce *r, struct buf *out);
void reduce_close(struct reduce *r);

/* ---- reduce_sum.c ---- */

/* Numbers that no double holds are rounded, as JavaScript does. */
bool reduce_number(struct slice value, double *out) MUST_CHECK;
/* The sum of two values, MessagePack: numbers, lists of numbers, objects of what can be added.
 * False: these can't. */
bool reduce_sum(struct slice a, struct slice b, struct buf *out) MUST_CHECK;

#endif
