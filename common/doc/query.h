/* Filters and orders over stored documents, MongoDB's semantics. The client's query arrives as
 * MessagePack; it is checked once and compiled into a plan that is evaluated on documents as
 * stored. */
#ifndef PARLEY_DOC_QUERY_H
#define PARLEY_DOC_QUERY_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"

/* A compiled filter. It lives in the arena, which must stay where it is: matching a pattern may
 * take scratch memory from it. It borrows the filter's bytes. */
struct query;
struct revision;

struct query_error {
	char place[128]; /* JSON pointer into the query, cut if long */
	char text[192];  /* what is allowed there */
	enum query_error_kind {
		QUERY_ERROR_OTHER,
		/* of a selector of CouchDB's, which has words of its own for these */
		QUERY_ERROR_OPERATOR,
		QUERY_ERROR_UNSUPPORTED,
		QUERY_ERROR_ARGUMENT
	} kind;
};

/* filter: MessagePack map, or empty (matches all). NULL on error.
 *
 * Members: {"path": value} or {"path": {"$op": ...}} all hold; $and, $or, $nor take lists of
 * filters. Operators: $eq $ne $gt $gte $lt $lte $in $nin $exists $type $not $regex $options $size
 * $all $elemMatch $mod, as in MongoDB, and $null (true: absent or null). {"$mango": selector} holds
 * where CouchDB's selector does (mango.h). */
struct query *query_compile(struct slice filter, struct arena *arena, struct query_error *error);
/* The same; its patterns share memory and steps with those of the other filter (NULL: none), which
 * is asked in turns with it. */
struct query *query_compile_beside(struct slice filter, const struct query *other,
				   struct arena *arena, struct query_error *error);
/* id: the document's id, addressed as member "id". body: MessagePack map without id. */
bool query_matches(const struct query *q, struct slice id, struct slice body);
/* What CouchDB's selectors see of a version beside its members: `_rev`, `_deleted` if it is, and
 * `_conflicts` if there are some. */
struct query_version {
	const struct revision *revision; /* NULL: not known */
	bool deleted;
	struct slice conflicts; /* MessagePack list of texts; empty: none */
};
bool query_matches_version(const struct query *q, struct slice id, struct slice body,
			   const struct query_version *version);
/* False: for query_matches_version it is the same as for query_matches. */
bool query_looks_at_version(const struct query *q);
/* True once a pattern, or the filter as a whole, has taken too many steps on some document, so that
 * query_matches could not tell: who asked it must look here afterwards and refuse the whole query
 * with STATUS_PATTERN_TOO_COSTLY. */
bool query_too_costly(const struct query *q);
/* How many the last answer took, beside those of patterns. At most about a second's, so that a lead
 * keeps its lease while it looks. */
enum { QUERY_STEPS_MAX = 128 * 1024 * 1024 };
uint64_t query_steps(const struct query *q);

/* "asc(path)" or "desc(path)"; path borrows. */
struct query_order {
	struct slice path;
	bool descending;
};
bool query_order_parse(struct slice text, struct query_order *out,
		       struct query_error *error) MUST_CHECK;
/* The value to sort a document by under this order, as value_compare sees it: nil when absent; of
 * arrays, on the way and at the end, the least (descending: greatest) of what all elements have,
 * those without a value as nil. At most LIMIT_ORDER_KEY_BYTES: longer strings
 * are cut, longer maps empty. Borrows from body or is written to scratch, whose content it
 * replaces. */
struct slice query_order_value(const struct query_order *order, struct slice id, struct slice body,
			       struct buf *scratch);

#endif
