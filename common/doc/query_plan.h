/* A compiled filter, as query_compile.c leaves it for query_match.c. Private to the query files. */
#ifndef PARLEY_DOC_QUERY_PLAN_H
#define PARLEY_DOC_QUERY_PLAN_H

#include "common/doc/path.h"
#include "common/doc/query.h"
#include "common/doc/value.h"

enum query_op {
	QUERY_AND,   /* of no children: true */
	QUERY_OR,    /* of no children: false */
	QUERY_MANGO, /* a selector of CouchDB's */
	/* Predicates: true if one of the values at the path has it. */
	QUERY_EQ,
	QUERY_GT,
	QUERY_GTE,
	QUERY_LT,
	QUERY_LTE,
	QUERY_IN,
	QUERY_TYPE,
	QUERY_REGEX,
	QUERY_MOD,
	/* These look at an array itself, never at its elements in its stead. */
	QUERY_EXISTS,
	QUERY_NULL,
	QUERY_SIZE,
	QUERY_ELEMENT,      /* an element is a map that the children hold for */
	QUERY_ELEMENT_VALUE /* an element is a value that the children, without path, hold for */
};

struct query_path {
	const struct path_segment *segments;
	uint32_t count;
	bool is_id; /* the document's id, not a member */
};

struct query_regex;
struct mango_node;

/* What a filter has cost; apart, as matching leaves the filter as it is. */
struct query_costs {
	uint64_t steps;  /* of the answer under way */
	bool too_costly; /* its patterns, or all of it */
};

/* Of some nanoseconds each. False: an answer has taken more than it may, and is none. */
bool query_take_steps(struct query_costs *costs, uint64_t steps);
/* For a value that was looked for in another, and found there or not (empty). */
bool query_take_search(struct query_costs *costs, struct slice in, struct slice found);
/* For a value that is compared, or looked up in a list. */
bool query_take_value(struct query_costs *costs, struct slice value, bool listed);

struct query_node {
	enum query_op op;
	bool negated;
	const struct query_path *path; /* NULL: the value at hand, without looking into it */
	struct query_node *children;
	struct query_node *next;
	struct slice operand;
	struct mp_token token;    /* its first */
	enum value_rank rank;     /* of the operand */
	const struct slice *list; /* IN: sorted */
	uint32_t list_count;
	bool list_has_nil;
	uint32_t types; /* TYPE: set of QUERY_TYPE_* */
	uint32_t size;
	uint64_t divisor; /* MOD: its magnitude; the sign does not matter */
	int64_t remainder;
	struct query_regex *regex;
	struct query_costs *costs; /* the query's */
	struct mango_node *mango;
};

struct query {
	struct query_node *root;
	struct query_costs *costs;
	struct query_regex *regex; /* what its patterns have joined; NULL: it has none */
	bool uses_id;
	bool uses_version;
};

enum {
	QUERY_TYPE_DOUBLE = 1 << 0,
	QUERY_TYPE_STRING = 1 << 1,
	QUERY_TYPE_OBJECT = 1 << 2,
	QUERY_TYPE_ARRAY = 1 << 3,
	QUERY_TYPE_BOOL = 1 << 4,
	QUERY_TYPE_NULL = 1 << 5,
	QUERY_TYPE_INT = 1 << 6,    /* fits 32 bits */
	QUERY_TYPE_LONG = 1 << 7,   /* fits 64 bits, signed */
	QUERY_TYPE_DECIMAL = 1 << 8 /* any other number */
};

/* Compiles into memory of the arena; NULL and a text on a pattern that is none. options: of "imsx".
 */
struct query_regex *query_regex_compile(struct slice pattern, struct slice options,
					struct arena *arena, char *text, size_t text_bytes);
/* It matches in the memory of another from now on, which must live as long: that of many patterns
 * which are matched one after the other is then needed once (about 20 KiB). */
void query_regex_borrow(struct query_regex *regex, const struct query_regex *lender);
/* The same, and what values earn, and may save up, is for both together: all of a filter. */
void query_regex_join(struct query_regex *regex, const struct query_regex *first);
/* False also where the pattern has taken more steps than the values seen so far are worth;
 * *too_costly is then set. */
bool query_regex_matches(struct query_regex *regex, struct slice subject, bool *too_costly);

#endif
