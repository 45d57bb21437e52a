/* What a filter demands of every document that it holds for, as far as it can be looked up in an
 * index. */
#ifndef PARLEY_DOC_QUERY_CONDITIONS_H
#define PARLEY_DOC_QUERY_CONDITIONS_H

#include "common/doc/query.h"

enum { QUERY_CONDITIONS_MAX = 64 };

enum query_comparison {
	COMPARE_IN,
	COMPARE_GT,
	COMPARE_GTE,
	COMPARE_LT,
	COMPARE_LTE,
	/* As GTE, or of a type that CouchDB has behind that of the value. Of nil and booleans:
	 * anything but nil. */
	COMPARE_FROM
};

/* One of the values at the path compares so, and is of the same type, unless it says otherwise. */
struct query_condition {
	struct slice path; /* dotted */
	enum query_comparison comparison;
	const struct slice *values; /* IN: any of these, ascending; nil also stands for absent */
	uint32_t values_count;      /* one of the others */
};

/* Some or all of them, at most QUERY_CONDITIONS_MAX, in the arena; values borrow from the filter.
 */
uint32_t query_conditions(const struct query *q, struct arena *arena, struct query_condition **out);

#endif
